"""Our own evaluations as rows."""

import pytest

from ream.analysis.results.evaluated import rows_of_cells
from ream.evaluation.scores import Cell, TaskScore


def task(value, stderr=None):
    return TaskScore(value=value, stderr=stderr, items=9, num_fewshot=0, version="1", metric="acc,none")


def test_rows_of_cells_have_the_papers_names_for_sources_and_tasks():
    cells = [
        Cell(mix=None, method=None, experts=32, parameters=10, mc=70.0, tasks={"rte": task(70.0)}),
        Cell(mix="even", method="ream", experts=16, parameters=6, mc=50.0, gen=40.0, avg=45.0,
             tasks={"rte": task(50.0, 2.0), "gpqa_diamond_n_shot": task(40.0, 3.0), "livecodebench_v6": task(9.0),
                    "extra": task(1.0)}),
    ]  # fmt: skip
    mixes = {"even": {"c4": 1.0, "numina-math": 1.0, "the-stack-smol": 0.0, "law": 2.0}}
    original, ream = rows_of_cells(cells, "org/m", mixes, ["rte"], ["gpqa_diamond_n_shot", "livecodebench_v6"])
    assert (original.method, original.ratios, original.parameters) == ("original", {}, 10)
    assert ream.shares == {"general": 0.25, "math": 0.25, "code": 0.0, "law": 0.5}
    assert {name: (score.value, score.stderr) for name, score in ream.gen_tasks.items()} == {
        "gpqa_diamond": (40, 3), "livecodebench": (9, None),
    }  # fmt: skip
    assert {name: (score.value, score.stderr) for name, score in ream.mc_tasks.items()} == {"rte": (50, 2)}
    assert (ream.mc, ream.gen, ream.avg, ream.origin) == (50, 40, 45, "ours")


def test_unknown_mixes_and_two_sources_of_a_kind_are_refused():
    cell = Cell(mix="even", method="ream", experts=16, parameters=6)
    with pytest.raises(ValueError, match="mix 'even' are not known"):
        rows_of_cells([cell], "m", {}, [], [])
    with pytest.raises(ValueError, match="two sources of one kind: c4, general"):
        rows_of_cells([cell], "m", {"even": {"c4": 1.0, "general": 1.0}}, [], [])
