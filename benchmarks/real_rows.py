"""Scores of tasks on real rows of public benchmarks, for models whose score is known, beside lm-eval's own numbers.

Called as: python benchmarks/real_rows.py FOLDER. The folder holds data sets in the hub's layout, owner__name/config/
SPLIT-*.parquet or owner__name/SPLIT-*.parquet; a task whose data set is not there is left out. For each task three
models are scored: one that always gives the right answer, one that never does, and one that answers by the hash of the
question. The last is scored by lm-eval's simple_evaluate as well.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import lm_eval.api.model
from lm_eval.tasks import TaskManager

from ream import params
from ream.errors import UserError
from ream.evaluation import harness
from ream.evaluation.pinned import PINNED


class Known(lm_eval.api.model.LM):
    """Answers a question rightly, wrongly, or by its hash: a choice gets 0 or -1, a text is given or empty.

    Args:
        answers: prompt to the right text, and (context, continuation) of right choices.
        kind: ``right``, ``wrong`` or ``hash``.
    """

    def __init__(self, answers: dict[Any, Any], kind: str) -> None:
        super().__init__()
        self.answers, self.kind = answers, kind

    def _knows(self, question: str) -> bool:
        if self.kind != "hash":
            return self.kind == "right"
        return hashlib.sha256(question.encode()).digest()[0] < 128

    def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        """0 for the choice that is given, -1 for the others."""
        return [
            (0.0 if (request.args in self.answers) == self._knows(request.args[0]) else -1.0, False)
            for request in requests
        ]

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        """The right text, or one that is never right."""
        return [self.answers[request.args[0]] if self._knows(request.args[0]) else "no" for request in requests]

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
        """Not asked."""
        raise NotImplementedError

    @property
    def tokenizer_name(self) -> str:
        """No tokenizer."""
        return ""


class Collecting(Known):
    """Learns the right answers from the requests themselves."""

    def __init__(self) -> None:
        super().__init__({}, "wrong")

    def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        """Keeps the right choice of every question."""
        by_question: dict[tuple[str, int], list[Any]] = {}
        for request in requests:
            by_question.setdefault((request.task_name, request.doc_id), []).append(request)
        for (task, _), asked in by_question.items():
            right = self.tasks[task].doc_to_target(asked[0].doc)
            number = right if isinstance(right, int) else self.tasks[task].doc_to_choice(asked[0].doc).index(right)
            self.answers[asked[number].args] = True
        return super().loglikelihood(requests)

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        """Keeps the right text of every question."""
        for request in requests:
            self.answers[request.args[0]] = right_text(request.task_name, request.doc)
        return ["no"] * len(requests)


def right_text(task: str, row: dict[str, Any]) -> str:
    """A right answer to a question that is to be answered with a text."""
    return row["canonical_solution"] if task == "humaneval" else row["answer"]


def redirected(folder: Path) -> None:
    """Let ``datasets.load_dataset`` read the folder."""

    def load_dataset(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
        place = folder / path.replace("/", "__")
        files = sorted((place / name if name and (place / name).is_dir() else place).glob("*.parquet"))
        if not files:
            raise FileNotFoundError(f"{path} {name} is not in {folder}")
        splits = {file.name.partition("-")[0]: str(file) for file in files}
        return datasets.DatasetDict({split: datasets.Dataset.from_parquet(file) for split, file in splits.items()})

    datasets.load_dataset = load_dataset


def ours(task: str, lm: Known, limit: int | None) -> dict[str, Any]:
    """ream's result of a task."""
    suite = params.Suite(**{"gen" if PINNED[task].generation else "mc": [task]}, limit=limit)
    settings = params.Evaluation(suite="real", allow_code_execution=True)
    tasks = harness.Harness(suite, settings, None)
    tasks.load(None)
    lm.tasks = tasks._loaded[task]["tasks"]
    harness.language_model = lambda *_: lm
    result: dict[str, Any] = tasks.score(None, None, None)["tasks"][task]
    return result


def lm_evals(task: str, lm: Known, limit: int | None, metric: str) -> float:
    """lm-eval's own number, in percent."""
    import lm_eval.tasks as all_tasks

    folder = Path(all_tasks.__file__).parent / PINNED[task].folder
    shots = {"num_fewshot": PINNED[task].num_fewshot} if PINNED[task].num_fewshot else {}
    report = lm_eval.simple_evaluate(
        lm, tasks=[task], limit=limit, confirm_run_unsafe_code=True, bootstrap_iters=0, **shots,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )  # fmt: skip
    return 100 * float(report["results"][task][metric])


def main() -> None:
    """Print a table in Markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="*", default=["gsm8k", "humaneval", "boolq", "hellaswag"])
    parser.add_argument("--limit", type=int, help="items of a task [default: all]")
    arguments = parser.parse_args()
    os.environ.pop("HF_HUB_OFFLINE", None)  # nothing is fetched: every data set comes from the folder
    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    redirected(arguments.folder)
    print("| task | items | metric | always right | never right | by hash | lm-eval's own |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for task in arguments.tasks:
        limit, collecting = arguments.limit, Collecting()
        try:
            ours(task, collecting, limit)
        except UserError as error:
            print(f"{task}: {error}", file=sys.stderr)
            continue
        right, wrong, hashed = (
            ours(task, Known(collecting.answers, kind), limit) for kind in ("right", "wrong", "hash")
        )
        own = lm_evals(task, Known(collecting.answers, "hash"), limit, hashed["metric"])
        cells = (task, right["items"], hashed["metric"], right["value"], wrong["value"], hashed["value"], own)
        print(
            "| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |",
            flush=True,
        )
        print(json.dumps({"task": task, "ours": hashed["value"], "lm_eval": own}), file=sys.stderr)


if __name__ == "__main__":
    main()
