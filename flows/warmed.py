"""`python -m flows.warmed COMMAND…`: run a command, such as `dvc repro`, whose stages spend no time on imports.

The stages that the command runs are forks of one process that has imported the libraries (`flows.warm`). That process
is started by the first stage, which runs without it: a command that runs no stage costs nothing more.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from flows.warm import Warm
from ream.machine.sharing import SHARED_CORES
from ream.machine.starter import FLOW

LOOK_SECONDS = 0.1


def run(command: Sequence[str]) -> int:
    """Run a command to its end; an interrupt from the keyboard reaches it without this process, SIGTERM through it.

    Args:
        command: program and arguments; the program is looked up in this process's PATH.

    Returns:
        Its exit status; 127 if there is no such program.
    """
    program = shutil.which(command[0])
    if program is None:
        print(f"error: there is no program '{command[0]}'; install ream's requirements", file=sys.stderr)
        return 127
    with Warm(SHARED_CORES, at_once=False) as warm:
        environment = {**os.environ, **warm.environment(), FLOW: str(os.getpid())}
        with subprocess.Popen([program, *command[1:]], env=environment) as child:
            signal.signal(signal.SIGINT, lambda number, frame: None)
            signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
            while True:
                try:
                    return child.wait(LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    if warm.wanted.exists():
                        warm.start()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
