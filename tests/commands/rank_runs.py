"""A program that runs `ream ...` as several ranks, in forked children (tests/commands/forking.py).

They have torchrun's environment, and the log of file operations of tests/commands/killing.py. A job is

    {"arguments": [...] of each rank, "folder": "...", "at": {rank: of `killing.watch`}, "after": seconds or null}

and is answered, of each rank, with ``codes``, ``said`` (stderr), ``printed`` (stdout) and ``operations``. ``at`` kills
a rank right before that operation, ``after`` all of them from outside. Unlike torchrun it ends no rank because another
has ended: what they do of themselves is seen.
"""

import os
import signal
import socket
import time
from pathlib import Path

from tests.commands.forking import ream, serve
from tests.commands.killing import Log, watch

LONGEST_SECONDS = 60


def rank_of(job, rank, port, log):
    """Run one rank of a job in this process, which ends with it."""
    os.chdir(job["folder"])
    size = len(job["arguments"])
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size),
        "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
    }  # fmt: skip
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"../{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    watch(log, job["at"].get(str(rank)))
    ream(job["arguments"][rank])


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
    serve(run)
