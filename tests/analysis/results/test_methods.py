from pathlib import Path

import pytest

from ream.analysis.results.methods import (
    ABLATIONS,
    BEYOND,
    METHODS,
    beyond_paper,
    is_variant,
    method_place,
    without_ablations,
)
from ream.analysis.results.rows import Row
from ream.analysis.tables.cost import Cost, table_of_cost
from ream.analysis.tables.paper import tables_of_ablations, tables_of_mixes
from ream.params import load_params

ROOT = Path(__file__).parents[3]


def row(method, gen):
    return Row("ours", "m", method, 8, {"math": 1.0, "code": 1.0}, gen=gen)


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", ROOT / "params" / "qwen3-coder-next.yaml"], ids=lambda p: p.stem
)
def test_ablations_are_the_methods_that_leave_out_a_part_of_ream(path):
    """An ablation is REAM without one part; a refit is an additional part."""
    methods = load_params(path).methods
    whole = methods["ream"].model_dump()

    def differs(name):
        other = methods[name].model_dump()
        return {key for key in whole.keys() | other.keys() if whole.get(key) != other.get(key)}

    one_part = {name for name in methods if name.startswith("ream-") and len(differs(name) - {"refit"}) == 1}
    assert set(ABLATIONS["ream"]) == one_part
    assert {name for name in methods if is_variant(name)} == one_part


def test_a_refit_is_not_an_ablation_and_its_method_stays_in_the_tables():
    assert not any(is_variant(name) for name in (*METHODS, "ream-x", "ream-one-shot-refit"))
    assert not is_variant("ream-one-shot", whole="reap")
    rows = [row("ream", 50.0), row("ream-refit", 52.0), row("ream-one-shot", 49.0), row("reap-refit", 51.0)]
    assert without_ablations(rows) == [rows[0], rows[1], rows[3]]
    (table,) = tables_of_ablations(rows)
    assert {line[1] for line in table.rows} == {"ream", "ream-one-shot"}
    table = tables_of_mixes(rows)[0]
    assert [line[1] for line in table.rows] == ["ream", "reap-refit", "ream-refit"]


def test_order_is_the_papers_then_beyond_it_then_others_by_name():
    names = ["ream-b", "ream-refit", "ean-refit", "a", "ream", "reap-refit", "original", "ream-released", "reap"]
    assert sorted(names, key=method_place) == [
        "original", "reap", "ream", "ream-released", "ean-refit", "reap-refit", "ream-refit", "a", "ream-b"
    ]  # fmt: skip


def test_captions_say_what_is_beyond_the_paper():
    assert beyond_paper(["ream", "reap"]) == ""
    assert beyond_paper(BEYOND) == (
        "; not in the paper: ean-refit, reap-refit, ream-refit, neurons-refit, neurons-fit, best, best-fit "
        "(methods with a refit)"
    )
    said = "; not in the paper: ream-refit (a method with a refit)"
    assert all(said in table.caption for table in tables_of_mixes([row("ream", 50.0), row("ream-refit", 52.0)])[:2])
    assert "not in the paper" not in tables_of_mixes([row("ream", 50.0)])[0].caption
    assert table_of_cost([Cost("ream-refit", 8)]).caption == f"Cost of each method{said}"
