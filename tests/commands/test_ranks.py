"""Ranks: two or three processes, as torchrun starts them, against one; killed, apart, failing, too many, refused."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from ream.compress.one_shot import read_probes
from ream.compress.statistics_file import read_sums
from ream.core.composition import ALL_QUANTITIES
from ream.machine.files import locked
from ream.recipe.contents import RECIPE
from ream.recipe.recipe_file import load_recipe, pack_layer
from ream.workspace.layout import Workspace
from ream.workspace.needs import write_needs
from ream.workspace.shares import write_shares
from tests import tiny
from tests.commands.forking import program
from tests.commands.ranked import ROUNDING, Runs, errors, refused, same_recipe, standing, walked
from tests.subsets import some_slow

KILLED, LAYERS = -9, 3
WALKS = {"hc-smoe": 2, "ream": 1}  # of a method: one-shot one for each source, sequential one of the mix
CHOOSING = {"saliency": "frequency", "grouping": "matching", "similarity": "gate-logits", "merging": "neurons"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    model = tiny.build(folder / "model", layers=LAYERS)
    params = tiny.write_params(folder / "params", model=model, sequences=6, batch_tokens=48, probes=40)
    tree = yaml.safe_load(params.read_text())
    tree["methods"] |= {
        "choosing": {**CHOOSING, "sequential": True},
        "layer-fit": {
            "saliency": "reap",
            "grouping": "pruning",
            "sequential": True,
            "refit": {"target": "layer", "iterations": 8},
        },
        "reap-sequential": {"saliency": "reap", "grouping": "pruning", "sequential": True},
    }
    params.write_text(yaml.safe_dump(tree, sort_keys=False))
    with program("rank_runs") as ask:
        yield Runs(ask, model, params)


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """Gives, for a method, the answer and files of an undisturbed run of two ranks."""
    made = {}

    def whole_of(method):
        if method not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            answer = runs(folder, *runs.compress(method))
            assert answer.codes == [0, 0], answer.said
            assert [path.name for path in folder.iterdir()] == ["out"]
            made[method] = answer, tiny.files(folder / "out")
        return made[method]

    return whole_of


def prepared(runs, folder, *sources):
    """A workspace in which the walks of these sources, or of a, can run."""
    for words in (["model"], *(["calibration", "--source", source] for source in sources or ["a"])):
        answer = runs(folder, "stage", *words, "--params", runs.params, ranks=1)
        assert answer.codes == [0], answer.said
    write_needs(Workspace(folder / "artifacts"), ALL_QUANTITIES)
    write_shares(Workspace(folder / "artifacts"), {"a": None, "b": None})
    return Workspace(folder / "artifacts")


@pytest.fixture(scope="module")
def alone(runs, tmp_path_factory):
    """A workspace with the statistics of a single process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    workspace = prepared(runs, folder)
    answer = runs(folder, *runs.stage(), ranks=1)
    assert answer.codes == [0], answer.said
    return folder, workspace.statistics("a"), tiny.files(workspace.statistics("a"))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_sums_are_those_of_a_single_process_and_probes_the_same_bytes(runs, alone, tmp_path, ranks):
    _, expected, _ = alone
    workspace = prepared(runs, tmp_path / "run")
    answer = runs(tmp_path / "run", *runs.stage(), ranks=ranks)
    assert answer.codes == [0] * ranks, answer.said
    assert [text.startswith("statistics of a:") for text in answer.printed] == [True] + [False] * (ranks - 1)
    assert answer.printed[1:] == [""] * (ranks - 1)
    found = workspace.statistics("a")
    assert (found / "facts.json").read_bytes() == (expected / "facts.json").read_bytes()
    for index in range(LAYERS):
        sums, wanted = read_sums(found, index).arrays(), read_sums(expected, index).arrays()
        for name, value in sums.items():
            assert value.dtype == np.float64
            assert value.shape == wanted[name].shape
            np.testing.assert_allclose(value, wanted[name], rtol=0, atol=ROUNDING * np.abs(wanted[name]).max())
        assert torch.equal(read_probes(found, index), read_probes(expected, index))
    assert not list(workspace.states.iterdir())
    again = runs(tmp_path / "run", *runs.stage(), ranks=1)  # one process takes them for its own
    assert not any("layer-" in line for line in again.operations[0])


@pytest.mark.parametrize("method", WALKS)
def test_the_recipe_is_that_of_a_single_process(runs, whole, tmp_path, method):
    """Three micro-batches, some padded: the ranks take one and two of them."""
    answer, files = whole(method)
    assert answer.printed[1] == ""
    assert "%|" not in answer.said[1]  # nor a bar
    single = runs(tmp_path / "single", *runs.compress(method), ranks=1)
    assert single.codes == [0], single.said
    assert answer.printed[0].splitlines()[-1] == single.printed[0].splitlines()[-1]
    expected, two = tmp_path / "single" / "out" / RECIPE, tmp_path / "two.safetensors"
    two.write_bytes(files[RECIPE])
    same_recipe(two, expected)


@pytest.mark.slow
def test_the_recipe_of_three_ranks_is_that_of_two(runs, whole, tmp_path):
    two = tmp_path / "two.safetensors"
    two.write_bytes(whole("ream")[1][RECIPE])
    three = runs(tmp_path / "three", *runs.compress("ream"), ranks=3)
    assert three.codes == [0, 0, 0], three.said
    same_recipe(tmp_path / "three" / "out" / RECIPE, two)


@pytest.mark.parametrize(
    ("method", "ranks"),
    [
        pytest.param("reap-refit", 2, marks=pytest.mark.slow),
        pytest.param("neurons-fit", 3, marks=pytest.mark.slow),
        pytest.param("neurons-refit", 3, marks=pytest.mark.slow),
        pytest.param("ream-refit", 2, marks=pytest.mark.slow),
        pytest.param("best-fit", 2, marks=pytest.mark.slow),
        pytest.param("choosing", 2, marks=pytest.mark.slow),
        pytest.param("layer-fit", 2, marks=pytest.mark.slow),
    ],
)
def test_refits_and_chosen_neurons_are_those_of_a_single_process(runs, tmp_path, method, ranks):
    """Each rank solves the sums of all for the same projections, and the same sequences are held out.

    The steps of a fit add rounding up, and what follows sees other hidden states by it.
    """
    for folder, count in (("one", 1), ("many", ranks)):
        answer = runs(tmp_path / folder, *runs.compress(method), ranks=count)
        assert answer.codes == [0] * count, answer.said
    recipes = [tmp_path / folder / "out" / RECIPE for folder in ("many", "one")]
    same_recipe(*recipes, corrections=1e-3, rounding=1e-5 if method.endswith("-fit") else ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("behind", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rank_behind_takes_the_corrections_of_the_one_ahead(runs, whole, tmp_path, behind):
    _, expected = whole("reap-refit")
    killed = runs(tmp_path / "run", *runs.compress("reap-refit"), at={behind: ["rename .*refit-4-rank-.*progress", 1]})
    assert killed.codes == [KILLED if rank == behind else 2 for rank in range(2)]
    assert standing(tmp_path / "run") == {behind: [1], 1 - behind: [2]}
    went_on = runs(tmp_path / "run", *runs.compress("reap-refit"))
    assert went_on.codes == [0, 0], went_on.said
    assert tiny.files(tmp_path / "run" / "out") == expected


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ream-released", "ream-one-shot", "reap-sequential"])
@pytest.mark.parametrize("ranks", [2, 4, 5])
@pytest.mark.parametrize("memory", [0, 8])
def test_other_methods_and_micro_batches_give_the_recipes_of_a_single_process(runs, tmp_path, method, ranks, memory):
    """Twelve micro-batches of one sequence, six of each source, with hidden states in mapped files and in memory."""
    settings = ("--set", "compute.batch_tokens=24", "--set", f"compute.hidden_memory_gb={memory}")
    words = [*runs.compress(method), "--sequences", 12, *settings]
    for folder, count in (("one", 1), ("many", ranks)):
        answer = runs(tmp_path / folder, *words, ranks=count)
        assert answer.codes == [0] * count, answer.said
    same_recipe(*(tmp_path / folder / "out" / RECIPE for folder in ("many", "one")))


@pytest.mark.parametrize(
    ("method", "behind"),
    [
        ("ream", 0),
        pytest.param("hc-smoe", 1, marks=pytest.mark.slow),
        pytest.param("hc-smoe", 0, marks=pytest.mark.slow),
        pytest.param("ream", 1, marks=pytest.mark.slow),
    ],
)
def test_ranks_killed_a_layer_apart_end_like_an_undisturbed_run(runs, whole, tmp_path, method, behind):
    walks, (_, expected) = WALKS[method], whole(method)
    at = ["rename .*(a|ream-4)-rank-.*progress", 1]  # what is kept of layer 1 is there, of all walks
    folder = tmp_path / "run"
    killed = runs(folder, *runs.compress(method), at={behind: at})
    assert killed.codes == [KILLED if rank == behind else 2 for rank in range(2)]
    if behind == 1:
        assert len(errors(killed)[0]) == 1
        assert "resume where this run stopped" in errors(killed)[0][0]
    ahead = 1 - behind
    assert standing(folder) == {behind: [1] * walks, ahead: [2] * walks}
    went_on = runs(folder, *runs.compress(method))
    assert went_on.codes == [0, 0], went_on.said
    assert tiny.files(folder / "out") == expected

    def commits(rank, index):
        found = re.compile(rf"rename .*-rank-.*layer-{index:03d}")
        return sum(found.search(line) is not None for line in went_on.operations[rank])

    assert [commits(rank, 0) for rank in range(2)] == [0, 0]
    assert [commits(rank, 1) for rank in range(2)] == [walks * (rank == behind) for rank in range(2)]
    assert [commits(rank, 2) for rank in range(2)] == [walks, walks]


@pytest.mark.slow
@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("method", WALKS)
def test_a_rank_killed_before_it_has_committed_the_last_layer_takes_all_of_the_other(
    runs, whole, tmp_path, method, behind
):
    folder, (_, expected) = tmp_path / "run", whole(method)
    runs(folder, *runs.compress(method), at={behind: ["rename .*(a|ream-4)-rank-.*progress", LAYERS - 1]})
    assert standing(folder) == {behind: [LAYERS - 1] * WALKS[method], 1 - behind: [LAYERS] * WALKS[method]}
    went_on = runs(folder, *runs.compress(method))
    assert went_on.codes == [0, 0], went_on.said
    assert tiny.files(folder / "out") == expected
    assert not walked(went_on)


@pytest.mark.slow
def test_ranks_may_stand_further_apart_where_layers_have_no_experts(runs, tmp_path):
    """Ranks do not wait for each other in layers without experts."""
    dense = Runs(runs.ask, tiny.build(tmp_path / "model", layers=4, dense=(1, 2)), runs.params)
    for name in ("whole", "run"):
        at = {0: ["rename .*-rank-.*progress", 1]} if name == "run" else {}
        answer = dense(tmp_path / name / "here", *dense.compress("ream"), at=at)
        assert answer.codes == ([KILLED, 2] if at else [0, 0]), answer.said
    assert standing(tmp_path / "run" / "here") == {0: [1], 1: [3]}
    assert dense(tmp_path / "run" / "here", *dense.compress("ream")).codes == [0, 0]
    found, expected = (tiny.files(tmp_path / name / "here" / "out") for name in ("run", "whole"))
    assert found == expected


@pytest.mark.slow
def test_a_finished_walk_is_not_repeated(runs, whole, tmp_path):
    """The first rank is killed while it writes the output, after the others have ended."""
    folder, (_, expected) = tmp_path / "run", whole("ream")
    killed = runs(folder, *runs.compress("ream"), at={0: ["write .*partial/model.*index", 0]})
    assert killed.codes == [KILLED, 0], killed.said
    assert standing(folder) == {0: [LAYERS], 1: [LAYERS]}
    went_on = runs(folder, *runs.compress("ream"))
    assert went_on.codes == [0, 0], went_on.said
    assert not walked(went_on)
    assert tiny.files(folder / "out") == expected
    assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "times"),
    [
        ("hc-smoe", 2),
        pytest.param("hc-smoe", 12, marks=pytest.mark.slow),
        pytest.param("ream", 12, marks=pytest.mark.slow),
    ],
)
def test_both_killed_at_any_moment_go_on(runs, whole, tmp_path, method, times):
    answer, expected = whole(method)
    rng, kills = np.random.default_rng(times), 0
    for number in range(times):
        folder = tmp_path / str(number)
        at = {rank: int(rng.integers(5, len(answer.operations[rank]))) for rank in range(2)}
        killed = runs(folder, *runs.compress(method), at=at)
        kills += KILLED in killed.codes
        if not (folder / "out").exists() or (folder / ".out.ream").exists():
            went_on = runs(folder, *runs.compress(method))
            assert went_on.codes == [0, 0], went_on.said
        assert tiny.files(folder / "out") == expected
        assert [path.name for path in folder.iterdir()] == ["out"]
    assert kills > times / 2


@pytest.mark.slow
def test_another_number_of_ranks_is_refused_by_name(runs, whole, tmp_path):
    _, expected = whole("hc-smoe")
    runs(tmp_path / "run", *runs.compress(), at={0: ["rename .*b-rank-0.*progress", 0]})
    assert 0 in standing(tmp_path / "run")
    refused(runs(tmp_path / "run", *runs.compress(), ranks=3), "ranks was 2 and is 3 now")
    refused(runs(tmp_path / "run", *runs.compress(), ranks=1), "ranks was 2 and is not set now")
    assert runs(tmp_path / "run", *runs.compress()).codes == [0, 0]
    assert tiny.files(tmp_path / "run" / "out") == expected


@pytest.mark.slow
def test_a_stage_starts_anew_with_another_number_of_ranks(runs, tmp_path):
    workspace = prepared(runs, tmp_path / "run")
    answer = runs(tmp_path / "run", *runs.stage(), ranks=3, at={1: 60})
    assert KILLED in answer.codes
    assert list(workspace.states.glob("*-rank-2/progress.json"))
    answer = runs(tmp_path / "run", *runs.stage(), ranks=2)
    assert answer.codes == [0, 0], answer.said
    assert read_sums(workspace.statistics("a"), 0).tokens > 0
    assert not list(workspace.states.iterdir())


@pytest.mark.parametrize("failing", some_slow([0, 1], keep=[1]))
def test_an_error_of_one_rank_before_the_walk_ends_all(runs, tmp_path, failing):
    other = [*runs.compress()[:-1], "none.yaml"]
    answer = runs(tmp_path / "run", *runs.compress(), ranks=3, own={failing: other})
    refused(answer, "none.yaml does not exist")


@pytest.mark.slow
def test_an_error_of_one_rank_amid_the_walk_ends_all(runs, tmp_path):
    workspace = prepared(runs, tmp_path / "run")
    in_the_way = workspace.state("statistics", "a", "rank", "1") / "layer-001.safetensors"
    in_the_way.mkdir(parents=True)
    answer = runs(tmp_path / "run", *runs.stage())
    refused(answer, "layer-001.safetensors cannot be written")
    in_the_way.rmdir()
    assert runs(tmp_path / "run", *runs.stage()).codes == [0, 0]


def test_an_error_of_the_first_while_it_decides_ends_all(runs, tmp_path):
    words = runs.compress("ream-released", "--group-size", 1)
    refused(runs(tmp_path / "run", *words, ranks=3), "grouping.group_size: 1 with centroid_counts leaves no room")
    assert not (tmp_path / "run" / "out").exists()


@pytest.mark.slow
def test_the_stage_sequential_leaves_the_recipe_alone(runs, whole, tmp_path):
    workspace = prepared(runs, tmp_path / "run", "a", "b")
    assert runs(tmp_path / "run", *runs.stage("mixture", "--mix", "balanced"), ranks=1).codes == [0]
    cell = ("--mix", "balanced", "--method", "ream", "--experts", 4)
    answer = runs(tmp_path / "run", *runs.stage("sequential", *cell))
    assert answer.codes == [0, 0], answer.said
    assert answer.printed[0].startswith("sequential balanced ream: 4 of 8 experts, ")
    assert answer.printed[1] == ""
    assert not list(workspace.states.iterdir())
    made = workspace.recipe("balanced", "ream", 4)
    # `ream compress` draws each source's share alone: only the hashes of what was drawn differ.
    (tmp_path / "whole.ream").write_bytes(whole("ream")[1][RECIPE])
    found, expected = load_recipe(made), load_recipe(tmp_path / "whole.ream")
    assert {**found.facts, "calibration": None} == {**expected.facts, "calibration": None}
    for index, layer in expected.layers.items():
        arrays = pack_layer(found.layers[index])
        assert all(array.tobytes() == arrays[name].tobytes() for name, array in pack_layer(layer).items())
    refused(runs(tmp_path / "run", *runs.stage("sequential", *cell), ranks=4), "mix balanced has 3 micro-batches")


@pytest.mark.slow
def test_a_state_in_use_ends_all(runs, tmp_path):
    workspace = prepared(runs, tmp_path / "run")
    state = workspace.state("statistics", "a", "rank", "1")
    with locked(state):
        refused(runs(tmp_path / "run", *runs.stage()), "statistics-a-rank-1 is in use by another run")


@pytest.mark.slow
def test_more_ranks_than_micro_batches_are_refused(runs, tmp_path):
    prepared(runs, tmp_path / "run")
    answer = runs(tmp_path / "run", *runs.stage(), ranks=4)
    refused(answer, "4 ranks", "source a has 3 micro-batches", "lower compute.batch_tokens")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compress", "owner/name", "out", "--experts", "4", "--method", "reap", "--drop-shards"], "--keep-shards"),
        (["stage", "saliency", "--mix", "balanced"], "stage saliency cannot run distributed"),
        (["stage", "statistics", "--source", "a", "--shard", "0", "--shards", "2"], "leave them out"),
        (["inspect", "MODEL"], "ream inspect cannot run distributed"),
        (["compress", "--expert", "3"], "(see --help)"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_cannot_run_distributed_is_refused_at_once(runs, tmp_path, words, said):
    given = [str(runs.model) if word == "MODEL" else word for word in words]
    more = ["--params", runs.params] if given[0] != "inspect" else []
    refused(runs(tmp_path / "run", *given, *more), said)
    assert not list((tmp_path / "run").iterdir())


def test_help_is_not_an_error_of_ranks(runs, tmp_path):
    assert runs(tmp_path / "run", "--help").codes == [0, 0]


@pytest.mark.slow
def test_torchrun_itself(runs, whole, tmp_path):
    """The processes that torchrun starts: the same bytes; and an error, which ends it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ream"]
    environment = os.environ | {"PYTHONPATH": str(tiny.ROOT)}

    def torchrun(*words):
        return subprocess.run(
            [*command, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )

    done = torchrun(*runs.compress("ream"))
    assert done.returncode == 0, done.stderr
    assert tiny.files(tmp_path / "out") == whole("ream")[1]
    failed = torchrun("stage", "saliency", "--mix", "balanced", "--params", runs.params)
    assert failed.returncode != 0
    assert failed.stderr.count("stage saliency cannot run distributed") == 1
    assert "exitcode  : 2" in failed.stderr
