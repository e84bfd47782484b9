"""Runs `ream ...` as several ranks, in forked children of a program that has it imported, in torchrun's environment.

As `tests/compress/killing.py`, whose log of file operations it uses: starting torch anew for every rank would take
seconds. It reads a line of JSON for each run,

    {"arguments": [...] of each rank, "folder": "...", "at": {rank: of `killing.watch`}, "after": seconds or null}

and answers with one: of each rank ``codes``, ``said`` (stderr), ``printed`` (stdout) and ``operations``. ``at`` kills a
rank right before that operation, ``after`` all of them from outside. Unlike torchrun it ends no rank because another
has ended: what they do of themselves is seen.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from ream import cli
from tests.compress.killing import IMPORTED, Log, watch

LONGEST_SECONDS = 60


def rank_of(job, rank, port, log):
    """Never returns."""
    os.chdir(job["folder"])
    size = len(job["arguments"])
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size),
        "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
    }  # fmt: skip
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"../{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    watch(log, job["at"].get(str(rank)))
    sys.argv = ["ream", *job["arguments"][rank]]
    code = 70
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs, children, codes, started = [], [], {}, time.monotonic()
    for rank in range(len(job["arguments"])):
        logs.append(Log())
        children.append(os.fork())
        if children[-1] == 0:
            rank_of(job, rank, port, logs[-1])
    while len(codes) < len(children):
        late = time.monotonic() - started
        for rank, child in enumerate(children):
            if rank in codes:
                continue
            if late > (job["after"] or LONGEST_SECONDS):
                os.kill(child, signal.SIGKILL)
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                codes[rank] = os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    beside = Path(job["folder"]).parent
    ranks = range(len(children))
    return {
        "codes": [codes[rank] for rank in ranks],
        "said": [(beside / f"stderr-{rank}").read_text() for rank in ranks],
        "printed": [(beside / f"stdout-{rank}").read_text() for rank in ranks],
        "operations": [log.lines() for log in logs],
    }


if __name__ == "__main__":
    for module in [*IMPORTED, "ream.compress.ranks"]:
        importlib.import_module(module)
    gc.freeze()  # children share these pages
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
