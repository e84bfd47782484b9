"""Table rows that summarise a stage's outputs: what was read, the groups of each layer, scores.

A row maps column titles to values; the column of labels has the title "".
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ream.machine.files import read_json

if TYPE_CHECKING:
    from ream.evaluation.scores import Cell

Row = dict[str, str | int | float | None]


def rows_of(kind: str, path: Path) -> Iterable[Row]:
    """Rows about one output of a stage; none for a kind of stage that has no figures to show.

    Args:
        kind: the kind of the stage, such as ``evaluate``.
        path: the output, a file or a folder.
    """
    summarise = ROWS.get(kind)
    return () if summarise is None else summarise(path)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if there is neither."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def calibration_rows(path: Path) -> Iterable[Row]:
    """One row with the number of sequences and the counts of a calibration file."""
    from ream.calibration.corpus import read_corpus

    corpus = read_corpus(path, may_be_empty=True)
    yield {"": f"{path.parent.name} {path.stem}", "sequences": len(corpus.sequences), **corpus.facts["counts"]}


def statistics_rows(folder: Path) -> Iterable[Row]:
    """A row for each layer of a source's statistics: tokens, and megabytes on disk."""
    facts = read_json(folder / "facts.json")
    for layer in sorted(folder.glob("*.safetensors")):
        yield {"": layer.stem, "tokens": facts["tokens"], "MB": round(size(layer) / 1e6, 3)}


def recipe_rows(path: Path) -> Iterable[Row]:
    """A row for each layer of a recipe, or of every recipe in a folder: the sizes of its groups."""
    import numpy as np

    from ream.recipe.recipe_file import load_recipe

    for recipe in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        for index, layer in load_recipe(recipe).layers.items():
            group = layer.groups.group
            sizes = np.bincount(group[group >= 0], minlength=len(layer.groups.kept))
            yield {
                "": f"{recipe.stem} experts, layer {index}",
                "alone": int((sizes == 1).sum()),
                "groups": int((sizes > 1).sum()),
                "largest": int(sizes.max()),
                "removed": int((group < 0).sum()),
            }


def rank_rows(path: Path) -> Iterable[Row]:
    """A row for each model of a mix: the ranks of its hidden states."""
    tree = read_json(path)
    for cell in tree["cells"]:
        ranks: Row = {f"{name} rank": _rounded(cell["ranks"][name], 1) for name in ("numerical", "effective")}
        yield {"": f"{tree['mix']} {cell['method']}", "experts": cell["experts"], **ranks}


def search_rows(folder: Path) -> Iterable[Row]:
    """A row for each mix on the front of a search: its shares, and what it measures on unseen text."""
    from ream.search.records import FOUND, read_record

    for mix in read_record(folder / FOUND).front:
        final = {f"{name}, unseen": _rounded(own.value, 4) for name, own in mix.final.items()}
        yield {"": mix.name, **mix.ratios, **final, **{name: _rounded(own, 1) for name, own in mix.scores.items()}}


def evaluation_rows(path: Path) -> Iterable[Row]:
    """A row of scores for each model of an evaluation file; none for the file of its answers."""
    from ream.evaluation.scores import read_scores

    return () if path.suffix != ".json" else score_rows(read_scores(path).cells)


def score_rows(cells: "Iterable[Cell]") -> Iterable[Row]:
    """A row of scores for each evaluated model: mean loss in nats; MC, GEN and AVG in percent."""
    for cell in cells:
        yield {
            "": f"{cell.mix} {cell.method}" if cell.method else "original",
            "experts": cell.experts,
            "mean loss": _rounded(cell.mean_loss, 3),
            "MC": _rounded(cell.mc, 1),
            "GEN": _rounded(cell.gen, 1),
            "AVG": _rounded(cell.avg, 1),
        }


ROWS: dict[str, Callable[[Path], Iterable[Row]]] = {
    "calibration": calibration_rows,
    "statistics": statistics_rows,
    "alignment": recipe_rows,
    "sequential": recipe_rows,
    "rank": rank_rows,
    "search": search_rows,
    "evaluate": evaluation_rows,
}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
