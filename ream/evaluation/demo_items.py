"""Writes the items of the demo tasks: data/tasks/*.yaml name them, this makes them from held-out text."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from ream.calibration import builtin
from ream.calibration.builtin import Document
from ream.evaluation import demo_code, demo_numbers, demo_prose
from ream.evaluation.held_out import seen_shingles
from ream.machine.files import replacing

DOCUMENTS = 300


@dataclass
class HeldOut:
    """The held-out text that items are made of, read when it is first needed."""

    seed: int
    given: dict[str, list[Document]] = field(default_factory=dict)

    def documents(self, name: str) -> list[Document]:
        """The first DOCUMENTS documents of ``general`` or ``code``: to take items from, and what goes with them."""
        if name not in self.given:
            self.given[name] = list(islice(builtin.documents(name, "held-out", self.seed), DOCUMENTS))
        return self.given[name]

    @cached_property
    def seen_code(self) -> set[str]:
        return seen_shingles()


Maker = Callable[[HeldOut, str, int], list[dict]]

# Items of each task. One evaluation of the demo suite is meant to take seconds: the graph runs it for every cell.
TASKS: dict[str, tuple[Maker, int]] = {
    "demo_prose": (lambda text, seed, n: demo_prose.prose_items(text.documents("general"), seed, n), 32),
    "demo_code": (lambda text, seed, n: demo_code.code_items(text.documents("code"), text.seen_code, seed, n), 32),
    "demo_result": (lambda text, seed, n: demo_numbers.result_items(random.Random(seed), n), 48),
    "demo_word_problem": (lambda text, seed, n: demo_numbers.word_problem_items(random.Random(seed), n), 32),
    "demo_arithmetic": (lambda text, seed, n: demo_numbers.arithmetic_items(random.Random(seed), n), 40),
    "demo_solution": (lambda text, seed, n: demo_numbers.solution_items(random.Random(seed), n), 24),
    "demo_last_word": (lambda text, seed, n: demo_prose.last_word_items(text.documents("general"), seed, n), 40),
    "demo_assignments": (
        lambda text, seed, n: demo_code.assignment_items(text.documents("code"), random.Random(seed), n),
        48,
    ),
}


def build_items(
    folder: Path, seed: int, text: HeldOut | None = None, tasks: Iterable[str] = tuple(TASKS)
) -> dict[str, int]:
    """Write <task>.jsonl for demo tasks, a row an item, from the held-out split of the built-in sources.

    The same installation and seed give the same bytes. Number tasks draw from the held-out questions; of prose and code
    what other splits contain as well is left out.

    Args:
        folder: to write to.
        seed: of the items.
        text: the held-out text, where it has been read already.
        tasks: to write, of TASKS.

    Returns:
        Task to number of items.
    """
    text = HeldOut(seed) if text is None else text
    counts = {}
    for task in tasks:
        make, count = TASKS[task]
        rows = make(text, f"{task}/{seed}", count)
        write_rows(folder / f"{task}.jsonl", rows)
        counts[task] = len(rows)
    return counts


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write JSONL, atomically."""
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
