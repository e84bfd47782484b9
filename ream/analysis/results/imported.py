"""Results of earlier runs as rows, to stand beside ours and the paper's (docs/analysis.md, "Imported results")."""

from collections.abc import Iterable, Mapping, Sequence

from ream.analysis.results.imported_csv import read_csv_rows
from ream.analysis.results.imported_lm_eval import read_lm_eval
from ream.analysis.results.imported_suites import Suites
from ream.analysis.results.rows import ROLES, Row
from ream.errors import UserError
from ream.params import Import


def imported_rows(
    imports: Mapping[str, Import],
    mc_tasks: Sequence[str],
    gen_tasks: Sequence[str],
    sources: Iterable[str],
    metrics: Mapping[str, str] | None = None,
) -> list[Row]:
    """Rows of all entries, in their order; their origin is the entry's name, or its ``origin`` where it has one.

    Args:
        imports: of params.yaml.
        mc_tasks, gen_tasks: of the suite: what MC and GEN are means of. A row has all tasks of a mean, or none.
        sources: names of params 'sources'. A mix's ratios stand in their order.
        metrics: the suite's ``metric``: which of lm-eval's numbers are the scores, where it is not the usual one.

    Raises:
        UserError: names the entry, file, line and value that is missing, not allowed or no mean, and what to do.
    """
    suites = Suites(tuple(mc_tasks), tuple(gen_tasks), dict(metrics or {}))
    roles = list(dict.fromkeys(ROLES.get(source, source) for source in sources))
    rows: list[Row] = []
    seen: dict[object, str] = {}
    for name, entry in imports.items():
        read = read_csv_rows if entry.is_csv else _lm_eval_rows
        for where, row in read(name, entry, suites, roles):
            key = (row.origin, row.model, row.experts, row.method, row.mix_key)
            if key in seen:
                raise UserError(f"{where}: the same model as {seen[key]}; keep one of them")
            seen[key] = where
            rows.append(row)
    return rows


def _lm_eval_rows(name: str, entry: Import, suites: Suites, roles: Sequence[str]) -> list[tuple[str, Row]]:
    where = f"imports.{name}: {entry.path}"
    if entry.model is None or entry.method is None or entry.experts is None:
        raise ValueError("an entry of lm-eval's results without model, method or experts")  # Import refuses it
    mc, gen = suites.split(where, read_lm_eval(where, entry.path, suites))
    means = suites.means(mc, gen)
    row = Row(
        origin=entry.origin or name, model=entry.model, method=entry.method, experts=entry.experts,
        ratios=suites.ordered(where, entry.mix, roles), mc_tasks=mc, gen_tasks=gen, parameters=entry.parameters,
        mc=means["mc"], gen=means["gen"], avg=means["avg"],
    )  # fmt: skip
    return [(where, row)]
