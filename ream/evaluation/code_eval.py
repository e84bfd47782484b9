"""The metric code_eval in our sandbox, and a stand-in for the package ``evaluate``, which would execute what it finds.

lm-eval's tasks that run code (HumanEval, MBPP) load the metric by ``evaluate.load("code_eval")``. That reads Python
from a folder ``code_eval`` of the working directory if there is one, or else from the hub.
"""

import base64
import os
import sys
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import comb
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.evaluation.livecodebench.sandbox import Limits, Program
from ream.evaluation.livecodebench.scoring import ALLOWED

PACKAGE, NAME = "evaluate", "code_eval"
SECONDS = 3.0  # of a program with its tests; the metric's default
FUNCTION = "run"  # of WRAPPED
# The namespace and the limits of the interpreter are those that the metric gives a program. The program may end the
# process, but then the answer is missing.
WRAPPED = """
import base64, sys
def {function}(_):
    sys.setrecursionlimit(1000)
    sys.set_int_max_str_digits(4300)
    exec(compile(base64.b64decode("{source}").decode(), "program", "exec"), {{}})
    return True
"""


class CodeEval:
    """``evaluate.load("code_eval")``, with each program in a process of its own (`sandbox`)."""

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1,)
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """pass@k of programs: the mean of 1 − C(n − c, k) / C(n, k), with c of a problem's n programs correct.

        The estimator is that of Chen et al. 2021 (arXiv 2107.03374), eq. 1.

        Args:
            references: for each problem the code that tests a program; it raises where the program is wrong.
            predictions: for each problem the programs.
            k: values of k; one for which a problem has too few programs is left out.

        Returns:
            "pass@k" to its value; and for each problem its programs' numbers and whether they passed.

        Raises:
            UserError: execution is not allowed.
        """
        if os.environ.get(ALLOWED) != "1":
            raise UserError(
                "this task executes code that the model writes; set evaluation.allow_code_execution: true on a machine "
                "that holds nothing of value"
            )
        jobs = [f"{program}\n{test}" for test, given in zip(references, predictions, strict=True) for program in given]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            verdicts = iter(list(pool.map(passes, jobs)))
        passed = [[next(verdicts) for _ in given] for given in predictions]
        values = {
            f"pass@{count}": sum(_estimate(len(of), sum(of), count) for of in passed) / len(passed)
            for count in k
            if passed and all(len(of) >= count for of in passed)
        }
        results = {
            problem: [(number, {"task_id": problem, "passed": right}) for number, right in enumerate(of)]
            for problem, of in enumerate(passed)
        }
        return values, results


def passes(source: str, limits: Limits | None = None) -> bool:
    """Whether a program with its tests runs to its end without an exception.

    Args:
        source: of the program and the tests.
        limits: of the process.
    """
    encoded = base64.b64encode(source.encode("utf-8", errors="replace")).decode()
    wrapped = WRAPPED.format(function=FUNCTION, source=encoded)
    with Program(wrapped, FUNCTION, limits or Limits(seconds=SECONDS)) as program:
        return program.answer("null") == ("", "true")


class _StandIn(types.ModuleType):
    """The module that tasks find as ``evaluate``; all but ``load`` is the real package's, imported when needed."""

    def __init__(self, package: types.ModuleType | None) -> None:
        super().__init__(PACKAGE)
        self._package = package

    def load(self, path: str, *args: Any, **options: Any) -> Any:
        """``evaluate.load``: ours for code_eval, and refused where it would execute a file of the working directory.

        Raises:
            UserError: a file or folder has the metric's name.
            ImportError: the package is not installed.
        """
        if path == NAME:
            return CodeEval()
        if Path(path).exists():
            raise UserError(
                f"metric '{path}': the package evaluate would execute {Path(path).absolute()} in its place; rename "
                "that, or start ream elsewhere"
            )
        return self._real().load(path, *args, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import system
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> types.ModuleType:
        if self._package is None:
            here = sys.modules.pop(PACKAGE, None)
            try:
                import evaluate

                self._package = evaluate
            finally:
                if here is not None:
                    sys.modules[PACKAGE] = here
        return self._package


@contextmanager
def own_metrics() -> Iterator[None]:
    """Within the block, ``import evaluate`` gives a module that loads no metric from the working directory."""
    before = sys.modules.get(PACKAGE)
    sys.modules[PACKAGE] = stand_in = _StandIn(before)
    try:
        yield
    finally:
        real = stand_in._package
        if real is None:
            del sys.modules[PACKAGE]
        else:
            sys.modules[PACKAGE] = real


def _estimate(programs: int, correct: int, k: int) -> float:
    """1 − C(n − c, k) / C(n, k)."""
    return 1.0 - comb(programs - correct, k) / comb(programs, k)
