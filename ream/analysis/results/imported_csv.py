"""Rows of a CSV file of earlier results; its columns are in docs/analysis.md, "Imported results"."""

from collections.abc import Mapping, Sequence

from ream.analysis.results.fields import check_mean, given_ratios, read_lines, read_number, read_whole, split_row
from ream.analysis.results.imported_suites import Suites
from ream.analysis.results.rows import ORIGINAL, ROLES, Row, Score
from ream.errors import UserError, unknown
from ream.params import Import

RATIO, STDERR = "_ratio", "_stderr"
DESCRIPTION = ("model", "method", "experts", "parameters")
MEANS = ("MC", "GEN", "AVG")


def read_csv_rows(name: str, entry: Import, suites: Suites, roles: Sequence[str]) -> list[tuple[str, Row]]:
    """The rows, each with its place in the file for messages.

    Args:
        name: name of the entry.
        entry: the entry of params 'imports'.
        suites: the suite's tasks.
        roles: roles of params 'sources', in their order.

    Raises:
        UserError: a value is missing, not a number, out of range, or not the mean that it should be. The message names
            file, line and column.
    """
    where = f"imports.{name}: {entry.path}"
    lines = read_lines(where, entry.path, "name an existing file", "save it as CSV, in UTF-8")
    if not lines:
        raise UserError(f"{where} is empty; its first line must name the columns")
    header = [column.strip() for column in lines[0]]
    _check_columns(f"{where}, line 1", header, suites, roles)
    rows = []
    for place, fields in enumerate(lines[1:], 2):
        if fields:  # the csv module gives an empty line no fields
            line = f"{where}, line {place}"
            cells = split_row(line, header, [field.strip() for field in fields])
            rows.append((line, _row(line, cells, name, entry, suites, roles)))
    if not rows:
        raise UserError(f"{where} has no rows; add a row for each model, or remove the entry")
    return rows


def _check_columns(where: str, header: Sequence[str], suites: Suites, roles: Sequence[str]) -> None:
    """Refuse unknown columns, and two columns for the same task."""
    tasks = {name for pair in suites.names.items() for name in pair}
    sources = {*ROLES, *roles}
    allowed = {*DESCRIPTION, *MEANS, *tasks, *(f"{task}{STDERR}" for task in tasks), *(f"{s}{RATIO}" for s in sources)}
    for column in header:
        if column not in allowed:
            raise unknown(f"{where}: column", column, allowed, "a CSV file of results")
    shown = [suites.names.get(column, column) for column in header]
    repeated = [column for column in shown if shown.count(column) > 1]
    if repeated:
        raise UserError(f"{where}: column '{repeated[0]}' appears twice; keep one of them")


def _row(where: str, cells: Mapping[str, str], name: str, entry: Import, suites: Suites, roles: Sequence[str]) -> Row:
    """The row of one line, checked."""
    model, method = (_text(where, column, cells, getattr(entry, column), name) for column in ("model", "method"))
    experts = _text(where, "experts", cells, entry.experts, name)
    parameters = cells.get("parameters") or entry.parameters
    ratios = {column.removesuffix(RATIO): read_number(where, column, text)
              for column, text in cells.items() if column.endswith(RATIO)}  # fmt: skip
    mix = given_ratios(where, ratios, method == ORIGINAL)
    if not ratios and method != ORIGINAL:
        mix = entry.mix
    mc, gen = suites.split(where, _scores(where, cells, suites))
    means = _means(where, cells, suites, mc, gen)
    return Row(
        origin=entry.origin or name, model=model, method=method, experts=read_whole(where, "experts", experts),
        ratios=suites.ordered(where, mix, roles), mc_tasks=mc, gen_tasks=gen, mc=means["mc"], gen=means["gen"],
        avg=means["avg"], parameters=read_whole(where, "parameters", str(parameters)) if parameters else None,
    )  # fmt: skip


def _text(where: str, column: str, cells: Mapping[str, str], otherwise: str | int | None, name: str) -> str:
    """The value of a column, or else that of the entry."""
    value = cells.get(column) or otherwise
    if value is None:
        raise UserError(f"{where}: no {column}; fill in the column, or set {column} in imports.{name}")
    return str(value)


def _scores(where: str, cells: Mapping[str, str], suites: Suites) -> dict[str, Score]:
    """Scores of the tasks that have a value, by the name of the column."""
    scores = {}
    for task, shown in suites.names.items():
        for column in dict.fromkeys((task, shown)):
            value, stderr = (read_number(where, of, cells.get(of, "")) for of in (column, column + STDERR))
            if value is not None:
                scores[task] = Score(value, stderr)
            elif stderr is not None:
                raise UserError(f"{where}: {column}{STDERR} without a value of {column}; give both or neither")
    return scores


def _means(
    where: str, cells: Mapping[str, str], suites: Suites, mc: Mapping[str, Score], gen: Mapping[str, Score]
) -> dict[str, float | None]:
    """{mc, gen, avg}: the printed means, checked against the tasks, or else the means of the tasks."""
    means = suites.means(mc, gen)
    for title, tasks in (("MC", mc), ("GEN", gen)):
        printed = read_number(where, title, cells.get(title, ""))
        if printed is not None:
            if tasks:
                check_mean(where, title, printed, "its tasks", [score.value for score in tasks.values()])
            means[title.lower()] = printed
    printed = read_number(where, "AVG", cells.get("AVG", ""))
    if means["mc"] is None or means["gen"] is None:
        if printed is not None:
            raise UserError(f"{where}: AVG is the mean of MC and GEN; give both, or leave AVG out")
        return means
    if printed is not None:
        check_mean(where, "AVG", printed, "MC and GEN", [means["mc"], means["gen"]])
    return means | {"avg": (means["mc"] + means["gen"]) / 2 if printed is None else printed}
