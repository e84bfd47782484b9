"""A workspace with the statistics of a tiny model, ready for searches."""

import yaml

from ream.params import load_params, parse_params
from ream.stages import calibration, model, statistics
from ream.workspace.layout import Workspace
from ream.workspace.needs import needed, write_needs
from ream.workspace.options import StageOptions
from ream.workspace.shares import largest_shares, write_shares
from tests import tiny

SEARCH = {
    "trials": 8, "batch": 3, "sequences": 4, "rungs": 2, "final_sequences": 4, "sampler": "random", "candidates": 3,
}  # fmt: skip


def params_of(folder, checkpoint, methods=("reap",), **search):
    """Settings of a run with two sources and a search; a third source is a."""
    tree = yaml.safe_load(tiny.write_params(folder, checkpoint, documents_each=60).read_text())
    tree["run"] |= {"search": list(methods)}
    tree["rank"] = {"sequences": 2}
    tree["search"] = SEARCH | search
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load_params(path)


def with_search(params, **search):
    """The settings with others of the search."""
    tree = params.model_dump()
    return parse_params(tree | {"search": tree["search"] | search})


def prepare(folder, checkpoint, methods=("reap",), **search):
    """(params, workspace) with the manifest, the calibration sequences and the statistics of both sources."""
    params, workspace = params_of(folder, checkpoint, methods, **search), Workspace(folder / "artifacts")
    model.run(params, workspace, StageOptions())
    for source in params.run.sources:
        calibration.run(params, workspace, StageOptions(source=source))
    write_needs(workspace, needed(params))
    write_shares(workspace, largest_shares(params))
    statistics.run_sources(params, workspace, params.run.sources, StageOptions())
    return params, workspace
