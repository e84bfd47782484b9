"""Edits of a graph's settings, files and code, one after the other, and the stages that each of them makes run.

docs/graph.md shows this list as a table (`tests/test_graph_edits.py`).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file, save_file

from tests.graphs import write_texts

ONE_SHOT, SEQUENTIAL = ("grouping", "alignment", "evaluate"), ("sequential", "evaluate-sequential")


@dataclass(frozen=True)
class Edit:
    """A change that a person makes.

    Attributes:
        what: the change, in the words of the docs.
        make: makes it in the folder of the graph.
        runs: names of the stages that run.
        shown: these stages in the words of the docs.
    """

    what: str
    make: Callable[[Path], None]
    runs: frozenset[str]
    shown: str


def params(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A change of the tree of params.yaml."""

    def make(folder: Path) -> None:
        tree = yaml.safe_load((folder / "params.yaml").read_text())
        change(tree)
        (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))

    return make


def put(name: str, value: Any) -> Callable[[Path], None]:
    """A new value in params.yaml, by its dotted name; entries that are missing are made."""

    def change(tree: dict[str, Any]) -> None:
        *parts, last = name.split(".")
        for part in parts:
            tree = tree.setdefault(part, {})
        tree[last] = value

    return params(change)


def code(module: str, old: str, new: str) -> Callable[[Path], None]:
    """A replacement in a module of ream."""

    def make(folder: Path) -> None:
        path = folder / "ream" / module
        text = path.read_text()
        assert old in text, f"{module} has no {old!r}"
        path.write_text(text.replace(old, new, 1))

    return make


def appended(name: str, text: str) -> Callable[[Path], None]:
    """Text at the end of a file."""

    def make(folder: Path) -> None:
        with open(folder / name, "a", encoding="utf-8") as file:
            file.write(text)

    return make


def version(library: str, number: str) -> Callable[[Path], None]:
    """Another version of an installed library, for a process that looks versions up in installed.json first."""

    def make(folder: Path) -> None:
        (folder / "installed.json").write_text(json.dumps({library: number}))

    return make


def other_weights(folder: Path) -> None:
    """Double one tensor of the model in place."""
    path = sorted((folder / "model").glob("*.safetensors"))[0]
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name] * 2}, path, metadata={"format": "pt"})


def all_of(*makes: Callable[[Path], None]) -> Callable[[Path], None]:
    """Several changes at once."""

    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make


def stages(kinds: Iterable[str], names: Iterable[str]) -> set[str]:
    """KIND@NAME for every kind and name."""
    listed = list(names)
    return {f"{kind}@{name}" for kind in kinds for name in listed}


def cells(mixes: Sequence[str], sizes: Sequence[int], one_shot: Sequence[str], sequential: Sequence[str]) -> set[str]:
    """The stages of the cells of a grid, from the grouping or walk to the evaluation."""
    return stages(ONE_SHOT, (f"{mix}-{name}-{size}" for mix in mixes for name in one_shot for size in sizes)) | stages(
        SEQUENTIAL, (f"{mix}-{name}-{size}" for mix in mixes for name in sequential for size in sizes)
    )


def extra(sizes: Sequence[int]) -> set[str]:
    """The stages of the method that runs on one mix only."""
    return stages([f"{kind}-extra" for kind in ONE_SHOT], (f"wordy-frequency-{size}" for size in sizes))


BOTH, SIZES = ("even", "wordy"), (4,)
SOURCES = stages(("calibration", "statistics"), ("prose", "code"))
MIXES = stages(("mixture", "saliency"), BOTH)
CELLS = cells(BOTH, SIZES, ["reap"], ["ream"]) | extra(SIZES)
SCORED = {name for name in CELLS if name.startswith("evaluate")} | {"evaluate-original"}
AFTER = {"rank@even", "fidelity@small", "merge@small", "metrics", "report"}
ALL = (
    {"code", "inputs", "check", "model", "items", "evaluate-original"}
    | stages(["watch"], ("model", "prose", "code", "published", "tasks"))
    | SOURCES
    | MIXES
    | CELLS
    | AFTER
)
THREE = ("even", "wordy", "third")
LAST = cells(THREE, [4, 6], ["reap", "ean"], ["ream"]) | extra([4, 6])  # the cells after all edits of the run
EXPORTED = stages(("fidelity", "merge"), ("small", "second"))  # after both exports are there
EDITS = (
    Edit("a comment, a docstring or an annotation in the code", all_of(
        code("core/saliency.py", "\n\n\n", "\n\n\n# a comment\n"),
        code("core/saliency.py", '"""', '"""Another docstring. '),
        code("core/saliency.py", "def frequency(sums: Sums)", "def frequency(sums: object)"),
    ), frozenset({"code"}), "`code`"),
    Edit("REAP's saliency in the code", code(
        "core/saliency.py", "return _mean(sums.weighted_norm_sum", "return -_mean(sums.weighted_norm_sum"
    ), frozenset({"code"} | stages(["saliency"], BOTH) | {
        name for name in CELLS if name.split("@")[0] in ("grouping", "grouping-extra", "sequential")
    }), "`code`, every `saliency`, `grouping` and `sequential`; what follows, if their results differ"),
    Edit("the report's code", code(
        "analysis/html/page.py", "def page(report: Report) -> str:", "def page(report: Report, more: str = '') -> str:"
    ), frozenset({"code", "report"}), "`code`, `report`"),
    Edit("a progress bar's code", code(
        "machine/progress.py", "QUIET_SECONDS = 3", "QUIET_SECONDS = 4"
    ), frozenset({"code"} | stages(["watch"], ("model", "prose", "code", "published", "tasks")) | {"model"}
        | stages(["calibration"], ("prose", "code"))
        | {name for name in CELLS if name.startswith("alignment")}
    ), "`code` and the stages that show such a bar; nothing after them, because their results stay the same"),
    Edit("a suite that is not run", put("suites.other", {"loss": ["math"]}), frozenset(), "nothing"),
    Edit("a method that is not run", put("methods.spare", {"saliency": "ean", "grouping": "pruning"}),
        frozenset({"check"}), "`check`"),
    Edit("a mix that is not run", put("mixes.third", {"prose": 0.1, "code": 0.9}), frozenset({"check", "report"}),
        "`check`, `report`"),
    Edit("`report.costs`", put("report.costs", True), frozenset({"report"}), "`report`"),
    Edit("a model's README", appended("model/README.md", "more"), frozenset({"watch@model", "inputs"}),
        "`watch@model`, `inputs`"),
    Edit("a task file", appended("tasks/mine.yaml", "# more\n"), frozenset({"watch@tasks", "inputs"} | SCORED),
        "`watch@tasks`, `inputs`, every `evaluate`"),
    Edit("a published table", appended("published/parameters.csv", "another-model,4,1000\n"),
        frozenset({"watch@published", "inputs", "report"}), "`watch@published`, `inputs`, `report`"),
    Edit("a new import", all_of(
        appended("earlier.csv", "model,method,experts,parameters\nmodel,reap,4,1000\n"),
        put("local.earlier", "earlier.csv"), put("imports.earlier", {"path": "earlier.csv"}),
    ), frozenset({"watch@earlier", "inputs", "report"}), "`watch` of its file, `inputs`, `report`"),
    Edit("an import's file", appended("earlier.csv", "model,ream,4,1000\n"),
        frozenset({"watch@earlier", "inputs", "report"}), "`watch` of that file, `inputs`, `report`"),
    Edit("a new export", put("exports.second", {"mix": "wordy", "method": "ream", "experts": 4}),
        frozenset({"fidelity@second", "merge@second"}), "its `fidelity` and `merge`"),
    Edit("`merge.shard_gb`", put("merge.shard_gb", 1),
        frozenset({"report"} | stages(["merge"], ("small", "second"))), "every `merge`, `report`"),
    Edit("`rank.sequences`", put("rank.sequences", 2),
        frozenset({"rank@even", "report"} | stages(["calibration"], ("prose", "code")) | EXPORTED),
        "every `calibration`, whose calibration text stays the same; every `rank`, `fidelity` and `merge`, `report`"),
    Edit("`evaluation.batch_size`", put("evaluation.batch_size", 8),
        frozenset(SCORED | {"metrics", "report"} | stages(["merge"], ("small", "second"))),
        "every `evaluate`; `merge`, for the scores in the card, and `metrics` and `report`"),
    Edit("a ratio of a mix", put("mixes.wordy", {"prose": 0.7, "code": 0.3}),
        frozenset({"check", "mixture@wordy", "saliency@wordy", "fidelity@second", "merge@second", "metrics", "report"}
                  | extra(SIZES) | cells(["wordy"], SIZES, ["reap"], ["ream"])),
        "`check`; that mix's `mixture`, `saliency`, `grouping`, `alignment`, `sequential`, `evaluate`, `fidelity`, "
        "`merge` and `rank`; `metrics` and `report`"),
    Edit("a new size", all_of(put("run.experts", [4, 6]), put("grouping.group_size", {4: 4, 6: 4})),
        frozenset({"check", "rank@even", "metrics", "report"} | cells(BOTH, [6], ["reap"], ["ream"]) | extra([6])),
        "`check`; `grouping`, `alignment`, `sequential`, `evaluate` of that size; every `rank`, `metrics`, `report`"),
    Edit("C of a size", put("grouping.group_size", {4: 4, 6: 5}),
        frozenset({"check", "rank@even", "report"} | cells(BOTH, [6], ["reap"], ["ream"]) | extra([6])),
        "`check`; `grouping`, `alignment`, `sequential` and `evaluate` of that size; every `rank`, `report`"),
    Edit("a new one-shot method", put("run.one_shot", ["reap", "ean"]),
        frozenset({"check", "rank@even", "metrics", "report"} | cells(BOTH, [4, 6], ["ean"], [])),
        "`check`; its `grouping`, `alignment` and `evaluate`; every `rank`, `metrics` and `report`"),
    Edit("a method's entry", put("methods.ean", {"saliency": "frequency", "grouping": "pruning"}),
        frozenset({"check", "rank@even", "metrics", "report"} | cells(BOTH, [4, 6], ["ean"], [])),
        "`check`; that method's `grouping` and `alignment` or `sequential`, and `evaluate`; every `rank`, `metrics`, "
        "`report`"),
    Edit("a new mix", put("run.mixes", ["even", "wordy", "third"]),
        frozenset({"check", "metrics", "report"} | stages(("mixture", "saliency"), ["third"])
                  | cells(["third"], [4, 6], ["reap", "ean"], ["ream"])),
        "`check`; its `mixture`, `saliency` and cells; `metrics` and `report`"),
    Edit("a new source", all_of(
        lambda folder: write_texts(folder, "talk", "what a day to go to sea in a boat "),
        put("local.talk", "texts/talk"), put("sources.talk", {"kind": "files", "paths": ["texts/talk/*.txt"]}),
        put("run.sources", ["prose", "code", "talk"]),
    ), frozenset({"watch@talk", "inputs", "check", "items", "rank@even", "metrics", "report"}
                 | stages(("calibration", "statistics"), ["talk"]) | stages(("mixture", "saliency"), THREE) | EXPORTED),
        "`watch` of its files, `inputs`, `check`, its `calibration` and `statistics`; `items`, every `mixture` and "
        "`saliency`, whose results stay the same; every `rank`, `fidelity` and `merge`, `metrics` and `report`"),
    Edit("a source's text", lambda folder: write_texts(folder, "talk", "what a night to stay at home in bed "),
        frozenset({"watch@talk", "inputs", "rank@even", "report"}
                  | stages(("calibration", "statistics"), ["talk"]) | stages(("mixture", "saliency"), THREE)
                  | EXPORTED),
        "`watch` of its files, `inputs`, its `calibration` and `statistics`, every `mixture` and `saliency`; what "
        "follows, in the mixes that draw on it; every `rank`, `fidelity` and `merge`, `report`"),
    Edit("a suite's settings", put("suites.tiny", {"loss": ["code"], "loss_sequences": 3, "loss_tokens": 16}),
        frozenset({"inputs", "check", "items", "evaluate-original", "metrics", "report"}
                  | stages(["merge"], ("small", "second"))
                  | {name for name in LAST if name.startswith("evaluate")}),
        "`inputs`, `check`, `items`, every `evaluate`; `merge`, for the scores in the card, and `metrics` and "
        "`report`"),
    Edit("a library's version", all_of(version("scipy", "99.0"), appended("constraints.txt", "# another scipy\n")),
        frozenset({"code", "items", "report"} | stages(["calibration"], ("prose", "code", "talk"))
                  | {name for name in LAST if name.startswith(("grouping", "alignment", "sequential"))}),
        "`code`, and the stages that use it or, for built-in text, read it; what follows, if their results differ"),
    Edit("`compute.threads`", put("compute.threads", 2),
        frozenset({"evaluate-original", "rank@even", "metrics", "report"} | stages(["saliency"], THREE)
                  | stages(["statistics"], ("prose", "code", "talk")) | EXPORTED
                  | {name for name in LAST if not name.startswith("grouping")}),
        "every stage that runs the model, and what follows, if the results differ"),
    Edit("the model's weights, in place", other_weights,
        frozenset({"watch@model", "inputs", "check", "model", "items", "evaluate-original"}
                  | {"rank@even", "metrics", "report"}
                  | stages(("calibration", "statistics"), ("prose", "code", "talk")) | stages(["saliency"], THREE)
                  | LAST | EXPORTED),
        "`watch@model`, `inputs`, `check`, `model`, and all that reads it"),
    Edit("a one-shot method that needs more of the statistics", put("run.one_shot", ["reap", "ean", "m-smoe"]),
        frozenset({"check", "rank@even", "metrics", "report"} | cells(THREE, [4, 6], ["m-smoe"], [])
                  | stages(["statistics"], ("prose", "code", "talk")) | stages(["saliency"], THREE)
                  | {name for name in LAST if name.startswith(("grouping", "alignment"))}),
        "`check`; every `statistics`, `saliency`, `grouping` and `alignment`; its `evaluate`; every `rank`, `metrics` "
        "and `report`"),
    Edit("a deleted artifact", lambda folder: (folder / "artifacts/calibration/prose.parquet").unlink(), frozenset(),
        "nothing: it comes from DVC's cache, for all that it depends on is the same"),
)  # fmt: skip
