"""Results of earlier runs as rows beside ours and the paper's (docs/analysis.md, "Imported results")."""

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
    """Rows of all entries, in their order; a row's origin is the entry's ``origin``, or else the entry's name.

    Args:
        imports: section 'imports' of params.yaml: name to entry.
        mc_tasks: the suite's tasks whose mean is MC. A row has all of them or none.
        gen_tasks: the suite's tasks whose mean is GEN. A row has all of them or none.
        sources: names in params 'sources'; a mix's ratios are given in this order.
        metrics: the suite's ``metric``: task to the metric that is its score, where it is not the usual one.

    Raises:
        UserError: a value is missing, not allowed, or not the mean that it should be. The message names entry, file,
            line and value, and what to do.
    """
    suites = Suites(tuple(mc_tasks), tuple(gen_tasks), dict(metrics or {}))
    roles = list(dict.fromkeys(ROLES.get(source, source) for source in sources))
    rows: list[Row] = []
    seen: dict[object, str] = {}
    for name, entry in imports.items():
        read_entry = read_csv_rows if entry.is_csv else _lm_eval_rows
        for where, row in read_entry(name, entry, suites, roles):
            key = (row.origin, row.model, row.experts, row.method, row.mix_key)
            if key in seen:
                raise UserError(f"{where}: the same model as {seen[key]}; keep one of them")
            seen[key] = where
            rows.append(row)
    return rows


def _lm_eval_rows(name: str, entry: Import, suites: Suites, roles: Sequence[str]) -> list[tuple[str, Row]]:
    """The one row of lm-eval's results, with the name of its file or folder for messages."""
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
