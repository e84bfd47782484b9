"""A program that has ream imported and runs `ream ...` in forked children, killing them where it is told to.

Starting an interpreter with torch takes seconds, forking one takes none: this lets a test kill hundreds of real
processes. It reads a line of JSON for each run,

    {"arguments": [...], "folder": "...", "after": seconds or null, "at": number of an operation or null}

and answers with one: ``code`` (-9 for a killed child), ``seconds``, ``said`` (stderr) and ``operations``: what the
child did to files, in order. An operation is one that changes what the next run finds (open for writing, rename,
remove, make or remove a folder, flush to disk) or a read of a safetensors file, which happens between them. ``at``
kills the child right before that operation, ``after`` from outside at any moment.
"""

import gc
import importlib
import json
import mmap
import os
import re
import signal
import sys
import time
from pathlib import Path

from ream import cli

LOG_BYTES = 1 << 20
CHANGES = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir"}


class Log:
    """Lines in memory that a killed child shares with its parent."""

    def __init__(self):
        self.shared = mmap.mmap(-1, LOG_BYTES)
        self.end = 0

    def add(self, line):
        data = line.encode() + b"\n"
        self.shared[self.end : self.end + len(data)] = data
        self.end += len(data)

    def lines(self):
        return self.shared[:].rstrip(b"\0").decode().splitlines()


def watch(log, at):
    """Log every operation of this process and kill it right before number ``at``.

    Args:
        at: a number, or a pattern and the number of the operation among those that it finds.
    """
    pattern, number = at if isinstance(at, list) else ("", at)
    wanted, count = re.compile(pattern), 0

    def operation(line):
        nonlocal count
        if wanted.search(line):
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        log.add(line)

    def audit(event, given):
        if event in CHANGES:
            operation(f"{CHANGES[event]} {given[0]}")
        elif event == "open" and isinstance(given[0], str):
            writes = given[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes and given[0] != os.devnull) or given[0].endswith(".safetensors"):
                operation(f"{'write' if writes else 'read'} {given[0]}")

    flush = os.fsync

    def fsync(handle):
        operation("fsync")
        flush(handle)

    os.fsync = fsync
    sys.addaudithook(audit)


def child(job, log):
    """Never returns."""
    os.chdir(job["folder"])
    with open(os.devnull, "w") as null, open("../stderr", "w") as errors:
        os.dup2(null.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    watch(log, job["at"])
    sys.argv = ["ream", *job["arguments"]]
    code = 70
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def run(job):
    log, started = Log(), time.monotonic()
    process = os.fork()
    if process == 0:
        child(job, log)
    if job["after"] is not None:
        time.sleep(job["after"])
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "said": (Path(job["folder"]).parent / "stderr").read_text(),
        "operations": log.lines(),
    }


# What a run imports: pyarrow looks for pandas, scipy and transformers load their modules when they are used.
IMPORTED = [
    "pandas",
    "pyarrow.parquet",
    "scipy.cluster.hierarchy",
    "scipy.optimize",
    "torch",
    "transformers.models.qwen3_moe.modeling_qwen3_moe",
    "ream.compress.output",
    "ream.compress.one_shot",
    "ream.compress.sequential",
    "ream.compress.contents",
    "ream.stages.pipeline",
    *(f"ream.stages.{name}" for name in ("alignment", "calibration", "grouping", "model", "saliency")),
    *(f"ream.stages.{name}" for name in ("resume", "sequential", "statistics")),
]

if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # children share these pages
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
