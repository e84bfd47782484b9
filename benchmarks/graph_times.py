"""How long `dvc repro` takes with nothing to do, after a comment, and which stages a change of the code runs.

    dvc repro && python -m benchmarks.graph_times

It needs a finished workspace in the working directory, which is left as it was.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROUNDS = 3
EDITED = Path("ream/core/saliency.py")
CHANGE = ("return _mean(sums.weighted_norm_sum", "return -_mean(sums.weighted_norm_sum")


def dvc(*arguments: str) -> tuple[float, str]:
    """Seconds and output of a DVC command, which must succeed."""
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if result.returncode != 0:
        sys.exit(result.stdout + result.stderr)
    return seconds, result.stdout


@contextmanager
def edited(text: str) -> Iterator[None]:
    """Another text in EDITED for the length of the block."""
    before = EDITED.read_text(encoding="utf-8")
    EDITED.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        EDITED.write_text(before, encoding="utf-8")


def main() -> None:
    """Print the figures."""
    _, output = dvc("repro")
    if ran := re.findall(r"Running stage '([^']+)'", output):
        sys.exit(f"the workspace was not finished: {', '.join(ran)} ran; start again")
    times = [dvc("repro")[0] for _ in range(ROUNDS)]
    print(f"dvc repro, nothing to do: {min(times):.1f} s (best of {ROUNDS})")
    print(f"dvc status, nothing to do: {min(dvc('status')[0] for _ in range(ROUNDS)):.1f} s")
    text = EDITED.read_text(encoding="utf-8")
    times = []
    for number in range(ROUNDS):
        with edited(f"{text}\n# a comment, number {number}\n"):
            seconds, output = dvc("repro")
            times.append(seconds)
            assert re.findall(r"Running stage '([^']+)'", output) == ["code"], output
    print(f"dvc repro after a comment in {EDITED}: {min(times):.1f} s; runs code")
    with edited(text.replace(*CHANGE)):
        dvc("repro", "code")
        kinds = re.findall(r"^(\S+?)(?:@\S+)?:$", dvc("status")[1], re.MULTILINE)
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    print(f"after a change of REAP's saliency, dvc status names: {counts}")
    dvc("repro", "code")


if __name__ == "__main__":
    main()
