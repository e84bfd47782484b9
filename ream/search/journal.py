"""Optuna's journal of trials in a folder that several processes share, and that a kill leaves readable."""

import fcntl
import os
from pathlib import Path
from typing import IO

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

STUDY = "mixes"
JOURNAL = "trials.journal"


class FileLock(JournalFileOpenLock):
    """A lock of the operating system, which ends with the process that holds it; Optuna's own outlive a kill.

    Whoever gets the lock removes the half-written line that a kill may have left at the end of the journal.
    """

    def __init__(self, journal: Path) -> None:
        """Args:
        journal: the file that is written while the lock is held.
        """
        super().__init__(str(journal))
        self._journal, self._held = journal, list[IO[bytes]]()

    def acquire(self) -> bool:
        """Wait for the lock."""
        file = open(self._journal.with_suffix(".lock"), "wb")  # noqa: SIM115 - closed when it is released
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held.append(file)
        whole_lines(self._journal)
        return True

    def release(self) -> None:
        """Let others have it."""
        self._held.pop().close()


def whole_lines(path: Path) -> None:
    """Cut what follows the last line break of a file, if anything does."""
    with open(path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        file.truncate(end)


def open_study(folder: Path, objectives: int) -> optuna.Study:
    """The study of a folder, made where there is none.

    Its sampler is one that decides nothing: `ream.search.trials` suggests mixes.

    Args:
        folder: of the journal.
        objectives: number of values of a trial, all to be minimised.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=FileLock(path)))
    return optuna.create_study(
        storage=storage, study_name=STUDY, load_if_exists=True, directions=["minimize"] * objectives,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )  # fmt: skip
