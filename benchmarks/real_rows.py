"""Scores of tasks on real rows of public benchmarks, for models whose score is known, beside lm-eval's own numbers.

    python -m benchmarks.real_rows FOLDER [--tasks boolq ...] [--limit 500] [--allow-code-execution]

The folder holds data sets in the hub's layout, owner__name/config/SPLIT-*.parquet or owner__name/SPLIT-*.parquet, and
problems of LiveCodeBench as rows.jsonl with solutions.json; a task whose data set is not there is left out. For each
task three models are scored: one that always gives the right answer, one that never does, and one that answers by the
hash of the question, whose score is known, too. lm-eval's simple_evaluate scores the last as well. HumanEval and
LiveCodeBench execute code, the solutions of the data sets, and run only with --allow-code-execution.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import lm_eval.api.model
import lm_eval.tasks
from lm_eval.tasks import TaskManager

from benchmarks.ifeval_answers import answer as ifeval_answer
from ream import params
from ream.errors import UserError
from ream.evaluation import harness
from ream.evaluation.code_eval import own_metrics
from ream.evaluation.livecodebench import problems
from ream.evaluation.lm_eval_state import code_execution
from ream.evaluation.pinned import PINNED
from ream.machine.files import read_json

TASKS = ("hellaswag", "boolq", "mmlu", "gsm8k", "ifeval", "humaneval", "livecodebench_v6")
LIVECODEBENCH = "livecodebench__code_generation_lite"
HEAD = (
    "task", "items", "metric", "always right", "never right", "by hash: expected", "by hash: ream's",
    "by hash: lm-eval's own",
)  # fmt: skip


class Known(lm_eval.api.model.LM):
    """Answers a question rightly, wrongly, or by its hash: a choice gets 0 or -1, a text is given or "".

    Args:
        answers: prompt to the right text, and (context, continuation) of right choices.
        kind: ``right``, ``wrong`` or ``hash``.
    """

    def __init__(self, answers: dict[Any, Any], kind: str) -> None:
        super().__init__()
        self.answers, self.kind = answers, kind

    def _knows(self, question: str) -> bool:
        return by_hash(question) if self.kind == "hash" else self.kind == "right"

    def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        """0 for the choice that is given, -1 for the others."""
        return [
            (0.0 if (request.args in self.answers) == self._knows(request.args[0]) else -1.0, False)
            for request in requests
        ]

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        """The right text, or none, which is never right."""
        return [self.answers[request.args[0]] if self._knows(request.args[0]) else "" for request in requests]

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
        """Not asked."""
        raise NotImplementedError

    @property
    def tokenizer_name(self) -> str:
        """No tokenizer."""
        return ""


class Collecting(Known):
    """Learns the right answers from the requests themselves.

    Attributes:
        questions: of each task, the text whose hash decides.
    """

    def __init__(self, tasks: dict[str, Any], solutions: dict[str, str]) -> None:
        super().__init__({}, "wrong")
        self.tasks, self.solutions = tasks, solutions
        self.questions: dict[str, list[str]] = {}

    def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        """Keeps the right choice of every question."""
        by_question: dict[tuple[str, int], list[Any]] = {}
        for request in requests:
            by_question.setdefault((request.task_name, request.doc_id), []).append(request)
        for (task, _), asked in by_question.items():
            right = self.tasks[task].doc_to_target(asked[0].doc)
            number = right if isinstance(right, int) else self.tasks[task].doc_to_choice(asked[0].doc).index(right)
            self.answers[asked[number].args] = True
            self.questions.setdefault(task, []).append(asked[0].args[0])
        return super().loglikelihood(requests)

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        """Keeps the right text of every question."""
        for request in requests:
            self.answers[request.args[0]] = self._right_text(request.task_name, request.doc)
            self.questions.setdefault(request.task_name, []).append(request.args[0])
        return [""] * len(requests)

    def _right_text(self, task: str, row: dict[str, Any]) -> str:
        if task == "ifeval":
            return str(ifeval_answer(row))
        if task == "livecodebench_v6":
            return f"```python\n{self.solutions[row['question_id']]}\n```"
        return str(row["canonical_solution"] if task == "humaneval" else row["answer"])


def by_hash(question: str) -> bool:
    """Whether the model that answers by the hash knows this answer."""
    return hashlib.sha256(question.encode()).digest()[0] < 128


def redirected(folder: Path) -> None:
    """Let ``datasets.load_dataset`` read the folder; of IFEval only prompts to which an answer can be made."""

    def load_dataset(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
        place = folder / path.replace("/", "__")
        files = sorted((place / name if name and (place / name).is_dir() else place).glob("*.parquet"))
        if not files:
            raise FileNotFoundError(f"{path} {name} is not in {folder}")
        splits = {file.name.partition("-")[0]: str(file) for file in files}
        rows = datasets.DatasetDict({split: datasets.Dataset.from_parquet(file) for split, file in splits.items()})
        return rows.filter(lambda row: ifeval_answer(row) is not None) if path == "google/IFEval" else rows

    datasets.load_dataset = load_dataset


def names_of(task: str, folder: Path) -> list[str]:
    """The tasks that a task consists of on these rows: of MMLU the subjects that are there."""
    if task != "mmlu":
        return [task]
    return [f"mmlu_{path.name}" for path in sorted((folder / "cais__mmlu").iterdir()) if path.is_dir()]


def write_livecodebench(rows: Path, include: Path) -> None:
    """Write the task of LiveCodeBench for the rows of a folder, in the place of a release.

    Args:
        rows: the folder with rows.jsonl.
        include: folder for the task's file.
    """
    text = (Path(problems.__file__).parent / "livecodebench_v6.yaml").read_text()
    count = sum(1 for line in (rows / "rows.jsonl").read_text().splitlines() if line.strip())
    text = text.replace("dataset: livecodebench/code_generation_lite", f"dataset: {rows}")
    text = re.sub(r"contests: .*", 'contests: { first: "2000-01-01", last: "2100-01-01" }', text)
    text = re.sub(r"problems:\n(    .*\n)+", f"problems: {{ rows.jsonl: {count} }}\n", text)
    (include / "livecodebench_v6.yaml").write_text(text)


def lm_evals(task: str, lm: Known, limit: int | None, metric: str) -> float:
    """lm-eval's own number, in percent; code is executed by ream's ``code_eval``, because lm-eval fetches its own."""
    pinned = PINNED["mmlu" if task.startswith("mmlu_") else task]
    folder = Path(lm_eval.tasks.__file__).parent / pinned.folder
    shots = {"num_fewshot": pinned.num_fewshot} if pinned.num_fewshot else {}
    with own_metrics(), code_execution(pinned.runs_code):
        report = lm_eval.simple_evaluate(
            lm, tasks=[task], limit=limit, confirm_run_unsafe_code=True, bootstrap_iters=0, **shots,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        )  # fmt: skip
    return 100 * float(report["results"][task][metric])


def table_rows(task: str, folder: Path, include: Path, options: argparse.Namespace) -> list[Sequence[object]]:
    """The rows of the table for a task.

    Raises:
        UserError: its data set is not there, or it executes code without leave.
    """
    names = names_of(task, folder)
    suite = params.Suite(**{"gen" if PINNED[task].generation else "mc": names}, limit=options.limit)
    settings = params.Evaluation(suite="real", include=str(include), allow_code_execution=options.allow_code_execution)
    tasks = harness.Harness(suite, settings, None)
    tasks.load(None)
    solutions = folder / LIVECODEBENCH / "solutions.json"
    known = {key: value for name in names for key, value in tasks._loaded[name]["tasks"].items()}
    collecting = Collecting(known, read_json(solutions) if solutions.exists() else {})

    def scores(lm: Known) -> dict[str, Any]:
        harness.language_model = lambda *_: lm
        results: dict[str, Any] = tasks.score(None, None, None)["tasks"]
        return results

    scores(collecting)
    right, wrong, hashed = (scores(Known(collecting.answers, kind)) for kind in ("right", "wrong", "hash"))
    rows = []
    for name in names:
        expected = 100 * sum(map(by_hash, collecting.questions[name])) / len(collecting.questions[name])
        metric, own = hashed[name]["metric"], Known(collecting.answers, "hash")
        by_lm_eval = "none" if name == "livecodebench_v6" else lm_evals(name, own, options.limit, metric)
        values = right[name]["value"], wrong[name]["value"], expected, hashed[name]["value"], by_lm_eval
        rows.append((name, right[name]["items"], metric, *values))
    return rows


def line(cells: Sequence[object]) -> str:
    """A line of the table in Markdown."""
    return "| " + " | ".join(f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def main() -> None:
    """Print a table in Markdown, row by row."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--limit", type=int, help="items of a task [default: all]")
    parser.add_argument("--allow-code-execution", action="store_true", help="run the solutions of HumanEval and others")
    options = parser.parse_args()
    os.environ.pop("HF_HUB_OFFLINE", None)  # nothing is fetched: every data set comes from the folder
    folder = options.folder.resolve()
    redirected(folder)
    print(line(HEAD), line(["---"] * len(HEAD)), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as include:
        if (folder / LIVECODEBENCH).is_dir():
            write_livecodebench(folder / LIVECODEBENCH, Path(include))
        for task in options.tasks:
            try:
                for row in table_rows(task, folder, Path(include), options):
                    print(line(row), flush=True)
            except UserError as error:
                print(f"{task}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
