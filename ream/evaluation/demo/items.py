"""Writes the items that the demo tasks (data/tasks/*.yaml) read, made from held-out text."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from ream.calibration import builtin
from ream.calibration.document import Document
from ream.evaluation.demo import code, numbers, prose
from ream.evaluation.demo.held_out import seen_shingles
from ream.machine.files import replacing

DOCUMENTS = 300


@dataclass
class HeldOut:
    """The held-out text that items are made from, read when it is first needed.

    Attributes:
        seed: orders the documents.
        given: documents of the sources that have been read already.
    """

    seed: int
    given: dict[str, list[Document]] = field(default_factory=dict)

    def documents(self, name: str) -> list[Document]:
        """The first DOCUMENTS held-out documents of ``general`` or ``code``, for items and distractors."""
        if name not in self.given:
            self.given[name] = list(islice(builtin.documents(name, "held-out", self.seed), DOCUMENTS))
        return self.given[name]

    @cached_property
    def seen_code(self) -> set[str]:
        """Shingles of the code that is not held out (`seen_shingles`)."""
        return seen_shingles()


# From the held-out text, a seed and a number of items: the rows.
Maker = Callable[[HeldOut, str, int], Sequence[Mapping[str, object]]]

# How the items of each task are made, and how many. They are few because the graph evaluates every cell on them, which
# should take seconds.
TASKS: dict[str, tuple[Maker, int]] = {
    "demo_prose": (lambda text, seed, n: prose.prose_items(text.documents("general"), seed, n), 32),
    "demo_code": (lambda text, seed, n: code.code_items(text.documents("code"), text.seen_code, seed, n), 32),
    "demo_result": (lambda text, seed, n: numbers.result_items(random.Random(seed), n), 48),
    "demo_word_problem": (lambda text, seed, n: numbers.word_problem_items(random.Random(seed), n), 32),
    "demo_arithmetic": (lambda text, seed, n: numbers.arithmetic_items(random.Random(seed), n), 40),
    "demo_solution": (lambda text, seed, n: numbers.solution_items(random.Random(seed), n), 24),
    "demo_last_word": (lambda text, seed, n: prose.last_word_items(text.documents("general"), seed, n), 40),
    "demo_assignments": (
        lambda text, seed, n: code.assignment_items(text.documents("code"), random.Random(seed), n),
        48,
    ),
}


def build_items(
    folder: Path, seed: int, text: HeldOut | None = None, tasks: Iterable[str] = tuple(TASKS)
) -> dict[str, int]:
    """Write <task>.jsonl for demo tasks, one row an item, from the held-out split of the built-in sources.

    The same installation and seed give the same bytes. Number tasks draw from the held-out questions. Prose and code
    that the other splits contain, too, are left out.

    Args:
        folder: folder to write to.
        seed: picks the items.
        text: the held-out text if it has been read already; None reads it.
        tasks: names of the tasks to write, keys of TASKS.

    Returns:
        The number of items of each task.
    """
    text = HeldOut(seed) if text is None else text
    counts = {}
    for task in tasks:
        make, count = TASKS[task]
        rows = make(text, f"{task}/{seed}", count)
        write_rows(folder / f"{task}.jsonl", rows)
        counts[task] = len(rows)
    return counts


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as JSON Lines in UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
