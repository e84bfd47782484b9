"""Many light stages at once: do the flow's stages meet DVC's locks, and what does DVC's part of a stage cost?

    python benchmarks/flow_locks.py [--stages 240] [--workers 2,4,8] [--times 5] [--busy 2] [--code FOLDER]

Builds a repository of stages that each write a line, as eight chains, and runs the flow on a copy of it from cold,
while busy loops load the machine. Prints a table: stages that failed or were not run, retries, wall seconds. `--code`
runs another checkout of this repository, such as a git worktree of an earlier commit.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 8  # chains
RAN = re.compile(r"(\d+) stages ran, ")
RETRIED = re.compile(r"Retry \d+/\d+ will start")


def build(folder: Path, stages: int) -> None:
    """Make a git and DVC repository of light stages."""
    folder.mkdir()
    graph = {}
    for number in range(stages):
        needed = [f"out/{number - WIDTH}.txt"] if number >= WIDTH else []
        made = f"out/{number}.txt"
        command = f"mkdir -p out && cat base.txt {' '.join(needed)} > {made}"
        graph[f"light-{number}"] = {"cmd": command, "deps": ["base.txt", *needed], "params": ["a"], "outs": [made]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}, sort_keys=False))
    (folder / "params.yaml").write_text("a: 1\n")
    (folder / "base.txt").write_text("base\n")
    for program in (["git"], [sys.executable, "-m", "dvc"]):
        subprocess.run([*program, "init", "--quiet"], cwd=folder, check=True)


@contextmanager
def load(loops: int) -> Iterator[None]:
    """Busy loops for the length of the block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def flow(folder: Path, code: Path, workers: int) -> tuple[float, str]:
    """Run the flow in a repository; returns wall seconds and the output.

    Args:
        folder: the repository.
        code: the checkout whose flow runs.
        workers: stages at once.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": str(code), "COLUMNS": "300", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "flows", "run", "--workers", str(workers), "--models", "1"]
    started = time.monotonic()
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return time.monotonic() - started, result.stdout + result.stderr


def main() -> None:
    """Measure and print; exit code 1 if any stage has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=240)
    parser.add_argument("--workers", default="2,4,8", help="numbers of stages at once, separated by commas")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--busy", type=int, default=2, help="busy loops that run meanwhile")
    parser.add_argument("--code", type=Path, default=ROOT, help="the checkout whose flow runs")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="ream-locks-"))
    build(base / "cold", arguments.stages)
    print(f"{os.cpu_count()} cores, {arguments.busy} busy loops, {arguments.stages} stages; logs: {base}")
    print("| workers | run | failed or not run | retries | wall (s) |\n| --- | --- | --- | --- | --- |")
    all_failed = 0
    for workers in map(int, arguments.workers.split(",")):
        for run in range(1, arguments.times + 1):
            folder = shutil.copytree(base / "cold", base / "run")
            with load(arguments.busy):
                seconds, said = flow(folder, arguments.code.resolve(), workers)
            (base / f"{workers}-{run}.log").write_text(said)
            counts = RAN.findall(said)
            failed = arguments.stages - (int(counts[-1]) if counts else 0)
            all_failed += failed
            retries = len(RETRIED.findall(said))
            print(f"| {workers} | {run} | {failed} | {retries} | {seconds:.0f} |", flush=True)
            shutil.rmtree(folder)
    sys.exit(1 if all_failed else 0)


if __name__ == "__main__":
    main()
