"""How many sequences of each source the graph's statistics are taken of."""

import numpy as np
import pytest
import yaml

from ream.commands.stage import run_stage
from ream.compress.statistics_file import read_sums
from ream.core.composition import NORMS
from ream.errors import UserError
from ream.machine.files import read_json
from ream.params import load_params
from ream.recipe.recipe_file import load_recipe
from ream.workspace.layout import Workspace
from ream.workspace.needs import write_needs
from ream.workspace.shares import largest_shares, read_share, write_shares
from tests import tiny


@pytest.fixture
def settings(mixed_depth, tmp_path):
    """Writes params with some mixes of n = 8 sequences and returns their path."""

    def write(mixes, sequences="shares"):
        path = tiny.write_params(tmp_path, mixed_depth)
        tree = yaml.safe_load(path.read_text())
        tree["mixes"] = mixes
        tree["run"] |= {"mixes": list(mixes), "rank": [next(iter(mixes))]}
        tree["statistics"] = {"probes": 16, "sequences": sequences}
        path.write_text(yaml.safe_dump(tree))
        return path

    return write


def shares(path):
    return largest_shares(load_params(path))


def test_the_largest_share_of_any_mix_and_one_sequence_of_a_source_without_any(settings):
    """Of 8: halves are 4 and 4; 0.3 : 0.7 are 2.4 and 5.6, so 2 and 6; 1 : 2 are 2.67 and 5.33, so 3 and 5."""
    even = {"a": 0.5, "b": 0.5}
    assert shares(settings({"even": even})) == {"a": 4, "b": 4}
    assert shares(settings({"even": even, "leaning": {"a": 0.3, "b": 0.7}})) == {"a": 4, "b": 6}
    assert shares(settings({"third": {"a": 1, "b": 2}})) == {"a": 3, "b": 5}
    assert shares(settings({"alone": {"b": 1}})) == {"a": 1, "b": 8}
    assert shares(settings({"even": even}, "all")) == {"a": None, "b": None}


def test_what_is_written_is_read_and_missing_is_an_error(tmp_path):
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match=r"shares/a\.json is missing; run `ream stage check` first"):
        read_share(workspace, "a")
    write_shares(workspace, {"a": 5, "b": None})
    assert (read_share(workspace, "a"), read_share(workspace, "b")) == (5, None)


def test_a_mix_that_draws_no_more_changes_no_file_and_one_that_does_changes_one(settings, tmp_path):
    workspace = Workspace(tmp_path / "artifacts")
    mixes = {"even": {"a": 0.5, "b": 0.5}, "leaning": {"a": 0.25, "b": 0.75}}

    def checked():
        run_stage("check", {}, settings(mixes), workspace)
        return tiny.files(workspace.shares_folder)

    before = checked()
    mixes["within"] = {"a": 0.3, "b": 0.7}
    assert checked() == before
    mixes["more"] = {"a": 0.1, "b": 0.9}
    after = checked()
    assert {name for name in after if after[name] != before[name]} == {"b.json"}


@pytest.mark.slow
def test_statistics_are_those_of_the_first_sequences_and_the_recipe_says_of_how_many(settings, tmp_path):
    """Drawing fewer sequences gives the same sums; a mix is the weighted mean of its sources' means."""
    whole, limited = Workspace(tmp_path / "whole"), Workspace(tmp_path / "limited")
    mixes = {"balanced": {"a": 0.75, "b": 0.25}}

    def measured(workspace, path, source):
        run_stage("calibration", {"source": source}, path, workspace)
        run_stage("statistics", {"source": source}, path, workspace)
        return read_sums(workspace.statistics(source), 2)

    path = settings(mixes)
    for workspace in (whole, limited):
        run_stage("model", {}, path, workspace)
        write_needs(workspace, NORMS)
    write_shares(limited, largest_shares(load_params(path)))
    write_shares(whole, {"a": None, "b": None})
    sums = {source: measured(limited, path, source) for source in ("a", "b")}
    facts = read_json(limited.statistics("a") / "facts.json")
    assert (facts["sequences"], facts["share"]) == (6, 6)
    run_stage("saliency", {"mix": "balanced"}, path, limited)
    cell = {"mix": "balanced", "method": "reap", "experts": 4}
    for stage in ("grouping", "alignment"):
        run_stage(stage, cell, path, limited)
    recipe = load_recipe(limited.recipe(*cell.values()))
    assert recipe.facts["measured"] == {"a": 6, "b": 2}
    means = {source: (each.weighted_norm_sum / each.tokens, each.count / each.tokens) for source, each in sums.items()}
    norms, counts = (0.75 * a + 0.25 * b for a, b in zip(means["a"], means["b"], strict=True))
    saliency = np.divide(norms, counts, out=np.zeros_like(norms), where=counts > 0)
    np.testing.assert_allclose(recipe.layers[2].saliency, saliency, rtol=1e-12)
    tree = yaml.safe_load(path.read_text())
    tree["calibration"]["sequences"] = 6
    path.write_text(yaml.safe_dump(tree))
    fewer = measured(whole, path, "a")
    for name, array in sums["a"].arrays().items():
        np.testing.assert_array_equal(array, fewer.arrays()[name], err_msg=name)
