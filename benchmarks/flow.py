"""Times of `make repro` and `make flow`: from cold in two clones, and again with nothing to do.

    python benchmarks/flow.py [--workers 2] [--folder FOLDER]

Both clones use this repository's .venv. Prints a table, and whether both commands left the same dvc.lock and outputs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def clone(folder: Path) -> Path:
    """Clone the last commit into a folder, without artifacts and with this repository's environment."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".venv" / "installed").touch()  # the clone's files are newer, so make would install it again
    return folder


def timed(folder: Path, log: Path, *command: str) -> float:
    """Wall seconds of a command in a clone; its output goes to a file."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=output, check=True)
    return time.monotonic() - started


def outputs(folder: Path) -> dict[str, bytes]:
    """Contents of all files among the graph's outputs, by path, without saved states and recorded costs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("artifacts", "reports", "models")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not {".state", "costs"} & set(path.parts)
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for clones and logs [default: a temporary folder]")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ream-flow-"))
    folder.mkdir(parents=True, exist_ok=True)
    serial, parallel = clone(folder / "serial"), clone(folder / "parallel")
    commands = {serial: ("make", "repro"), parallel: ("make", "flow", f"WORKERS={arguments.workers}")}
    print(f"{os.cpu_count()} cores; logs and clones: {folder}")
    print("| | from cold (s) | nothing to do (s) |\n| --- | --- | --- |")
    cold = {}
    for repository, command in commands.items():
        cold[repository] = timed(repository, folder / f"{repository.name}-cold.log", *command)
        again = timed(repository, folder / f"{repository.name}-again.log", *command)
        print(f"| `{' '.join(command)}` | {cold[repository]:.0f} | {again:.1f} |", flush=True)
    print(f"ratio: {cold[parallel] / cold[serial]:.2f}")
    same_lock = (serial / "dvc.lock").read_bytes() == (parallel / "dvc.lock").read_bytes()
    same_outputs = outputs(serial) == outputs(parallel)
    print(f"same dvc.lock: {same_lock}; same outputs, byte for byte: {same_outputs}")
    sys.exit(0 if same_lock and same_outputs else 1)


if __name__ == "__main__":
    main()
