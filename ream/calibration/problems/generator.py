"""Seeded streams of problems and of worksheets, for the built-in ``math`` source and the demo's math tasks.

A hash of the question decides the split, so no question of the calibration or held-out split occurs in training.
"""

import random
from collections.abc import Iterator

from ream.calibration.document import Split, split_of
from ream.calibration.problems import arithmetic, exercises, stories
from ream.calibration.problems.problem import Problem, Template

# The order is part of the text: a seed chooses templates by their position.
TEMPLATES: tuple[Template, ...] = (*arithmetic.TEMPLATES, *stories.TEMPLATES, *exercises.TEMPLATES)


def problems(split: Split, seed: int, templates: tuple[Template, ...] = TEMPLATES) -> Iterator[Problem]:
    """Endless problems of one split; the same seed gives the same problems.

    Args:
        split: one of ``train``, ``calibration``, ``held-out``.
        seed: seed of the generator.
        templates: templates to choose from.
    """
    generator = random.Random(f"{split}/{seed}")
    while True:
        problem = generator.choice(templates)(generator)
        if split_of(problem.question) == split:
            yield problem


def worksheets(split: Split, seed: int, per_sheet: int = 16) -> Iterator[str]:
    """Endless documents of ``per_sheet`` problems with their solutions.

    A sheet of 16 problems has about 1000 tokens of the demo's tokenizer.
    """
    stream = problems(split, seed)
    while True:
        yield "\n\n".join(next(stream).text for _ in range(per_sheet))
