"""The processes of a search: each takes batches of trials until there is none left."""

import time
from collections.abc import Callable

from ream.machine.progress import Progress
from ream.search.measuring import Measuring
from ream.search.side_by_side import Note
from ream.search.trials import Trials

LOOK_SECONDS = 0.2  # between two looks at what others are working on
Told = Callable[[], None]


def work(
    trials: Trials, measuring: Measuring, told: Told, title: str, wait: bool, silent: bool = False,
    meanwhile: Callable[[Note], bool] = lambda note: False,
) -> int:  # fmt: skip
    """Measure batches until there is none left.

    Args:
        trials: in the journal.
        measuring: measures a batch.
        told: called after every batch of this process.
        title: of the progress bar, which counts the trials of all processes.
        silent: show no progress, because another process shows it.
        wait: whether to wait for what others work on, and to do what they leave behind if they are killed.
        meanwhile: called where there is nothing to do but to wait; returns whether it has done some of what comes next.

    Returns:
        The number of trials that this process has measured.
    """
    count = done = 0
    with Progress(trials.plan.trials, title, "trial", silent=silent) as progress:
        while True:
            finished = len(trials.told())
            (progress.update if count else progress.skip)(finished - done)
            done = finished
            with trials.next_batch() as batch:
                if batch:
                    trials.tell(measuring.batch(batch, progress.note))
            if batch:
                count += len(batch)
                told()
            elif not wait or trials.finished():
                return count
            elif not meanwhile(progress.note):
                time.sleep(LOOK_SECONDS)
