"""Stage report: all scores of the grid in a table, as metrics, as a plot's data and as a figure."""

from pathlib import Path

from ream.analysis.figures import overview, save
from ream.analysis.results import flat_csv, markdown, metrics, ordered
from ream.evaluation.scores import read_scores
from ream.files import replacing, write_json
from ream.params import Params
from ream.stages.workspace import Workspace


def run(params: Params, workspace: Workspace, out: Path) -> str:
    """Write results.md, results.csv, metrics.json and overview.png and .svg from the evaluations of the run's grid."""
    methods = params.run.one_shot + params.run.sequential
    paths = [workspace.original_evaluation]
    paths += [workspace.evaluation(mix) for mix in params.run.mixes]
    cells = [cell for path in paths for cell in read_scores(path).cells]
    rows = ordered(cells, params.run.mixes, methods, params.run.experts)
    for name, text in (("results.md", markdown(rows, "dvc repro")), ("results.csv", flat_csv(rows))):
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(out / "metrics.json", metrics(rows))
    for suffix in ("png", "svg"):
        save(overview(rows), out / f"overview.{suffix}")
    return f"{len(rows)} models: {out / 'results.md'}"
