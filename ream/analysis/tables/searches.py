"""Tables of a search of mixes: its front, its trials, its hypervolume over the trials, and what each source does."""

from ream.analysis.numbers.searches import Searched, sensitivities, volumes
from ream.analysis.tables.table import Column, Table, Value

DIGITS = 3


def table_of_front(searched: Searched) -> Table:
    """A row for each mix of the front, then for each known one, with what they measure on unseen text."""
    record = searched.record
    lines: list[tuple[Value, ...]] = []
    intervals: dict[tuple[int, int], tuple[float, float]] = {}
    front = record.front
    others = [mix for mix in record.mixes if not mix.front]
    first = 3 + len(record.sources)
    for mix in (*front, *others):
        for place, name in enumerate(record.objectives):
            own = mix.final.get(name)
            if own is not None and own.low is not None and own.high is not None:
                intervals[len(lines), first + 2 * place + 1] = own.low, own.high
        measured: list[Value] = []
        for name in record.objectives:
            measured += [mix.search[name], mix.final[name].value if name in mix.final else None]
        shares = [100 * mix.ratios[source] for source in record.sources]
        scores = [mix.scores.get(name) for name in record.tasks]
        lines.append(
            (
                mix.name if mix.front else mix.written,
                mix.origin,
                "yes" if mix.front else "no",
                *shares,
                *measured,
                *scores,
            )
        )
    columns = [Column("mix"), Column("origin"), Column("on the front")]
    columns += [Column(f"{source} %", 1) for source in record.sources]
    for name in record.objectives:
        columns += [Column(f"{name}, searched", DIGITS), Column(f"{name}, unseen", DIGITS)]
    columns += [Column(name, 1) for name in record.tasks]
    caption = (
        f"Mixes found for {record.method} at {record.experts} experts, and known ones; {searched.unit} on the text of "
        "the search and on text that it has not seen; ±: 95% interval, by bootstrap over sequences"
    )
    return Table(
        f"table-search-{searched.name}", caption, tuple(columns), tuple(lines), rules=(len(front),) if others else (),
        intervals=intervals,
    )  # fmt: skip


def table_of_trials(searched: Searched, name: str) -> Table:
    """All trials: their shares in percent and what they measure; of those that were stopped early, an estimate."""
    record = searched.record
    lines = tuple(
        (row.trial, row.mix, row.origin, *(100 * row.ratios[source] for source in record.sources), row.sequences,
         *(row.values[objective] for objective in record.objectives), "yes" if row.front else "no")
        for row in searched.rows
    )  # fmt: skip
    columns = (
        Column("trial"), Column("mix"), Column("origin"), *(Column(f"{source} %", 1) for source in record.sources),
        Column("sequences"), *(Column(objective, DIGITS) for objective in record.objectives), Column("on the front"),
    )  # fmt: skip
    return Table(name, f"Trials of the search for {searched.name}", columns, lines)


def table_of_volumes(searched: Searched, name: str) -> Table:
    """The hypervolume after each trial."""
    after, known = volumes(searched)
    lines = tuple((row.trial, volume, known) for row, volume in zip(searched.rows, after, strict=True))
    columns = Column("trial"), Column("hypervolume", 4), Column("hypervolume of the known mixes", 4)
    return Table(name, f"Hypervolume over the trials of {searched.name}", columns, lines)


def table_of_sensitivities(searched: Searched, name: str) -> Table:
    """What ten more percentage points of each source do to each objective, by a surrogate."""
    lines: list[tuple[Value, ...]] = []
    intervals: dict[tuple[int, int], tuple[float, float]] = {}
    for objective, (found, explained) in sensitivities(searched).items():
        for source, effect in found.items():
            if effect.low is not None and effect.high is not None:
                intervals[len(lines), 2] = effect.low, effect.high
            lines.append((objective, source, effect.value, None if explained is None else 100 * explained))
    columns = Column("objective"), Column("source"), Column("effect", DIGITS, signed=True), Column("explained %", 0)
    caption = (
        f"Effect of ten more percentage points of a source at the even mix for {searched.name}, in nats per token; "
        "explained: the fraction of the variance over the trials that the surrogate explains"
    )
    return Table(name, caption, columns, tuple(lines), intervals=intervals)
