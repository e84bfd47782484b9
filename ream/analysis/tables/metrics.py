"""What DVC's own views show: a few headline metrics, a row of metrics for every model, and the data of the plots."""

from collections.abc import Sequence

from ream.analysis.results.rows import ORIGINAL
from ream.analysis.tables.csv_rows import csv_of
from ream.evaluation.scores import Cell

Metrics = dict[str, float | int | str]


def headline(cells: Sequence[Cell]) -> Metrics:
    """The original's MC, GEN and loss, and for each number of experts those of the best model.

    The best model has the highest `score`; without scores, the lowest loss. Ties go to the earlier cell.

    Args:
        cells: the evaluated models, the original among them.

    Returns:
        Short name to value: ``MC``, ``GEN`` (percent) and ``loss`` (nats per token) of the original; for 16 experts
        ``best@16``, the method, and ``MC@16``, ``GEN@16`` and ``loss@16``. Names without a value are left out.
    """
    metrics: Metrics = {}
    for experts in (None, *dict.fromkeys(cell.experts for cell in cells if cell.method is not None)):
        group = [cell for cell in cells if (cell.experts if cell.method is not None else None) == experts]
        best = best_of(group)
        if best is None:
            continue
        suffix = "" if experts is None else f"@{experts}"
        if best.method is not None:
            metrics[f"best{suffix}"] = best.method
        metrics |= {f"{name}{suffix}": value for name, value in _scores(best).items() if name != "AVG"}
    return metrics


def best_of(cells: Sequence[Cell]) -> Cell | None:
    """The cell of the highest `score`; where none has a score, of the lowest loss; None where none has either."""
    scored = [cell for cell in cells if score(cell) is not None]
    if scored:
        return max(scored, key=lambda cell: score(cell) or 0.0)
    return min(
        (cell for cell in cells if cell.mean_loss is not None), key=lambda cell: cell.mean_loss or 0.0, default=None
    )


def score(cell: Cell) -> float | None:
    """The mean of MC and GEN in percent; of a suite with tasks of one kind, that one; None without tasks."""
    return next((value for value in (cell.avg, cell.mc, cell.gen) if value is not None), None)


def recovery(cell: Cell, original: Cell) -> float | None:
    """The percentage of the original's AVG that a model keeps, or of MC or GEN where one of the two has no AVG.

    None where they have no score in common, and if the original's is 0.
    """
    pairs = ((cell.avg, original.avg), (cell.mc, original.mc), (cell.gen, original.gen))
    kept, whole = next(((kept, whole) for kept, whole in pairs if kept is not None and whole is not None), (0.0, 0.0))
    return 100 * kept / whole if whole else None


def model_metrics(cell: Cell, original: Cell | None) -> Metrics:
    """One model's metrics: experts; MC, GEN, AVG and recovery in percent; loss in nats per token; size in 10^9 bytes.

    Args:
        cell: the model.
        original: the original; None if it was not evaluated.

    Returns:
        Name to value; without the values that the cell does not have.
    """
    kept = None if original is None else recovery(cell, original)
    more = {
        "recovery": None if kept is None else round(kept, 1),
        "GB": None if cell.bytes is None else float(f"{cell.bytes / 1e9:.4g}"),
    }
    return {
        "experts": cell.experts,
        **_scores(cell),
        **{name: value for name, value in more.items() if value is not None},
    }


def plot_csv(cells: Sequence[Cell]) -> str:
    """All models as CSV for `dvc plots`, a row each; a value that a model does not have is empty."""
    original = next((cell for cell in cells if cell.method is None), None)
    names = ["experts", "MC", "GEN", "AVG", "loss", "recovery"]
    rows: list[list[object]] = [["mix", "method", *names]]
    for cell in cells:
        metrics = model_metrics(cell, original)
        rows.append([cell.mix or "", cell.method or ORIGINAL, *(metrics.get(name, "") for name in names)])
    return csv_of(rows)


def _scores(cell: Cell) -> dict[str, float]:
    """MC, GEN and AVG to one decimal, loss to three, as in the tables; without those that the cell does not have."""
    values = {"MC": (cell.mc, 1), "GEN": (cell.gen, 1), "AVG": (cell.avg, 1), "loss": (cell.mean_loss, 3)}
    return {name: round(value, digits) for name, (value, digits) in values.items() if value is not None}
