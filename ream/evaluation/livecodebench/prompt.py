"""The prompt of LiveCodeBench and the program in an answer.

The wording is part of the benchmark; other words would give other scores. It is taken from
github.com/LiveCodeBench/LiveCodeBench (MIT licence), lcb_runner/prompts/code_generation.py, the generic template for
instruct models. The system message of that template is the task's ``description``.
"""

from collections.abc import Mapping
from typing import Any

FENCE = "```"
STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code within "
    "delimiters."
)
STANDARD_INPUT = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample "
    "inputs). Enclose your code within delimiters as follows."
)


def text(doc: Mapping[str, Any]) -> str:
    """The prompt of a problem."""
    ask, code = (STARTER, doc["starter_code"]) if doc["starter_code"] else (STANDARD_INPUT, "# YOUR CODE HERE")
    return (
        f"### Question:\n{doc['question_content']}\n\n"
        f"### Format: {ask}\n{FENCE}python\n{code}\n{FENCE}\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )


def program_in(answer: str) -> str:
    """The lines between the last two lines with a fence, as the benchmark takes them (utils/extraction_utils.py).

    Returns:
        The program; empty if fewer than two lines have a fence.
    """
    lines = answer.split("\n")
    fences = [index for index, line in enumerate(lines) if FENCE in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) >= 2 else ""
