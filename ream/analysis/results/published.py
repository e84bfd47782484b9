"""The paper's printed results, read from data/published/; each row's means are checked against its own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ream.analysis.results.fields import check_mean, given_ratios, read_lines, read_number, read_whole, split_row
from ream.analysis.results.rows import ORIGINAL, PAPER, Row, Score
from ream.errors import UserError

TASKS = ("ifeval", "aime25", "gsm8k", "gpqa_diamond", "humaneval", "livecodebench")
SOURCES = ("general", "math", "code")
HEADER = ("model", "experts", "method", *(f"{source}_ratio" for source in SOURCES), *TASKS, "MC", "GEN", "AVG")


@dataclass(frozen=True)
class Published:
    """The paper's rows.

    Attributes:
        mixes: Tables 5 and 6: Qwen3-30B-A3B-Instruct-2507, every method and mix at 96 and 64 of 128 experts.
        large_models: Table 2: the larger models with a quarter of the experts removed. Their mixes are not known to us.
        ablations: Table 4: Qwen3-Coder-Next, 384 of 512 experts.
    """

    mixes: tuple[Row, ...]
    large_models: tuple[Row, ...]
    ablations: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows; a row of Table 2 that another table repeats, with its mix, is given only there."""
        others = self.mixes + self.ablations
        known = [(row.model, row.experts, row.method, row.gen_tasks) for row in others]
        return others + tuple(
            row for row in self.large_models if (row.model, row.experts, row.method, row.gen_tasks) not in known
        )


def load_published(folder: str | Path) -> Published:
    """Read mixes.csv, large-models.csv and ablations.csv.

    Raises:
        UserError: a file is missing or a row is inconsistent (`read_rows`).
    """
    folder = Path(folder)
    return Published(*(tuple(read_rows(folder / f"{name}.csv")) for name in ("mixes", "large-models", "ablations")))


def load_parameters(path: str | Path) -> dict[tuple[str, int], int]:
    """(model, experts) to the number of parameters, without multi-token layers: data/published/parameters.csv.

    The paper does not print them; they follow from the models' dimensions, as `ream estimate` counts them.

    Raises:
        UserError: the file is missing or a line is invalid.
    """
    lines = read_lines(str(path), path, "published numbers belong to a checkout of the project", "check it out again")
    header = ("model", "experts", "parameters")
    if not lines or tuple(lines[0]) != header:
        raise UserError(f"{path}, line 1: the columns must be {','.join(header)}")
    parameters: dict[tuple[str, int], int] = {}
    for number, fields in enumerate(lines[1:], 2):
        where = f"{path}, line {number}"
        cells = split_row(where, header, fields)
        key = (cells["model"], read_whole(where, "experts", cells["experts"]))
        if key in parameters:
            raise UserError(f"{where}: {key[0]} with {key[1]} experts appears twice; keep one of them")
        parameters[key] = read_whole(where, "parameters", cells["parameters"])
    return parameters


def read_rows(path: str | Path) -> list[Row]:
    """Read one file of published rows.

    GEN must be the mean of the row's six tasks and AVG the mean of its MC and GEN, within the rounding of one printed
    decimal. MC's own tasks are not in our material, so MC is checked against AVG only.

    Raises:
        UserError: a value is missing, not a number, out of range, printed twice, or not the mean that it should be. The
            message names file, line and value.
    """
    lines = read_lines(str(path), path, "published numbers belong to a checkout of the project", "check it out again")
    if not lines or tuple(lines[0]) != HEADER:
        raise UserError(f"{path}, line 1: the columns must be {','.join(HEADER)}")
    rows: list[Row] = []
    seen: dict[object, int] = {}
    for number, fields in enumerate(lines[1:], 2):
        row = _row(f"{path}, line {number}", fields)
        key = (row.model, row.experts, row.method, row.mix_key)
        if key in seen:
            raise UserError(f"{path}, line {number}: the same model as in line {seen[key]}; keep one of them")
        seen[key] = number
        rows.append(row)
    return rows


def _row(where: str, fields: Sequence[str]) -> Row:
    """The row of one line, checked."""
    cells = split_row(where, HEADER, fields)
    for name in ("model", "method"):
        if not cells[name]:
            raise UserError(f"{where}: '{name}' is empty; give the {name}")
    experts = read_whole(where, "experts", cells["experts"])
    ratios = {source: read_number(where, f"{source}_ratio", cells[f"{source}_ratio"], 1) for source in SOURCES}
    given = given_ratios(where, ratios, cells["method"] == ORIGINAL)
    tasks = {task: read_number(where, task, cells[task]) for task in TASKS}
    scores = {task: Score(value) for task, value in tasks.items() if value is not None}
    if len(scores) < len(TASKS):
        raise UserError(f"{where}: no value for {', '.join(task for task in TASKS if task not in scores)}")
    mc, gen, avg = (read_number(where, name, cells[name]) for name in ("MC", "GEN", "AVG"))
    if gen is None:
        raise UserError(f"{where}: no value for GEN")
    check_mean(where, "GEN", gen, "its tasks", [score.value for score in scores.values()])
    if (mc is None) != (avg is None):
        raise UserError(f"{where}: only one of MC and AVG has a value; give both or neither")
    if mc is not None and avg is not None:
        check_mean(where, "AVG", avg, "MC and GEN", [mc, gen])
    return Row(
        origin=PAPER, model=cells["model"], method=cells["method"], experts=experts, ratios=given,
        gen_tasks=scores, mc=mc, gen=gen, avg=avg,
    )  # fmt: skip
