"""One generated problem, and the type of the templates that generate them."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A question with its solution.

    Attributes:
        question: the question.
        solution: the worked solution; its last number is the answer.
        answer: the answer, a whole number.
    """

    question: str
    solution: str
    answer: int

    @property
    def text(self) -> str:
        """The problem as documents contain it."""
        return f"Problem: {self.question}\nSolution: {self.solution}\nAnswer: {self.answer}"


Template = Callable[[random.Random], Problem]
