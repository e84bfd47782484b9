"""pass@1: the fraction of problems whose program passes all test cases."""

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from ream.errors import UserError
from ream.evaluation.livecodebench.cases import Case
from ream.evaluation.livecodebench.checker import same_output, same_value
from ream.evaluation.livecodebench.problems import cases_at
from ream.evaluation.livecodebench.prompt import program_in
from ream.evaluation.livecodebench.sandbox import Limits, Program

PASSED, WRONG, NO_CODE = "passed", "wrong answer", "no code"
ALLOWED = "HF_ALLOW_CODE_EVAL"  # set by the harness if evaluation.allow_code_execution is true


def execute(answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The verdict on each answer to each problem; a filter of lm-eval. As many programs run at once as there are CPUs.

    Args:
        answers: for each problem the answers to it.
        docs: the problems (`problems.load`).

    Returns:
        For each answer PASSED, WRONG, NO_CODE, "time limit" or "error".

    Raises:
        UserError: execution is not allowed; or see `cases_at`.
    """
    if os.environ.get(ALLOWED) != "1":
        raise UserError(
            "LiveCodeBench executes code that the model writes; set evaluation.allow_code_execution: true on a machine "
            "that holds nothing of value"
        )
    jobs = [(answer, doc) for given, doc in zip(answers, docs, strict=True) for answer in given]
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        judged = pool.map(lambda job: _judged(*job), jobs)
        verdicts = iter(list(tqdm(judged, total=len(jobs), desc="programs", disable=not sys.stderr.isatty())))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt waits for the running programs only
    return [[next(verdicts) for _ in given] for given in answers]


def pass_at_1(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """The fraction of a problem's answers that passed; 0 or 1 with one greedy answer."""
    return {"pass@1": sum(verdict == PASSED for verdict in results[0]) / len(results[0])}


def verdict_on(source: str, function: str, cases: Sequence[Case], limits: Limits | None = None) -> str:
    """The verdict on a program, which is run on test cases up to the first that it does not pass.

    Args:
        source: source of the program.
        function: name of the function to call; empty for a program that reads and prints.
        cases: the test cases.
        limits: limits of the program.

    Returns:
        One of the verdicts of `execute`.
    """
    if not source.strip():
        return NO_CODE
    same = same_value if function else same_output
    with Program(source, function, limits) as program:
        for case in cases:
            trouble, answer = program.answer(case.given)
            if trouble:
                return trouble
            if not same(answer, case.expected):
                return WRONG
    return PASSED


def _judged(answer: str, doc: Mapping[str, Any]) -> str:
    source = program_in(answer)
    return verdict_on(source, doc["function"], cases_at(doc)) if source.strip() else NO_CODE
