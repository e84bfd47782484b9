"""The numbers in docs/analysis.md are those that the published rows give; its examples are valid."""

import re
from pathlib import Path

import pytest
import yaml

from ream.analysis.numbers.mixes import Series, correlations_of, fronts_of, series_of
from ream.analysis.results.imported import imported_rows
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Score
from ream.params import load_params, parse_params

ROOT = Path(__file__).parents[2]
METHODS = ("frequency", "reap", "hc-smoe", "ream")


def documented(experts, what):
    """Cells of the row of the last table."""
    text = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {experts} \| {re.escape(what)} \| (.*) \|$", text, re.MULTILINE)
    return [[float(number.replace("−", "-")) for number in cell.split(", ")] for cell in line.split(" | ")]


@pytest.mark.parametrize("experts", [96, 64])
def test_documented_numbers_are_the_computed_ones(experts):
    series = series_of(load_published(ROOT / "data" / "published").mixes, experts)
    fronts = fronts_of(series)
    for method, area, correlation in zip(
        METHODS,
        documented(experts, "HV, n/10"),
        documented(experts, "r(general, MC), r(code, GEN), r(MC, GEN)"),
        strict=True,
    ):
        one = Series(method, "paper")
        correlations = correlations_of(series[one])
        assert area == [pytest.approx(fronts[one].hypervolume, abs=0.0501), fronts[one].size]
        pairs = (("general", "MC"), ("code", "GEN"), ("MC", "GEN"))
        assert correlation == [pytest.approx(correlations[pair].r, abs=0.00501) for pair in pairs]


def example(language):
    text = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return block


def test_documented_imports_are_read(tmp_path, monkeypatch):
    tree = load_params(ROOT / "params.yaml").model_dump() | yaml.safe_load(example("yaml"))
    imports = parse_params(tree).imports
    assert list(imports) == ["march", "reap-96"]
    assert imports["reap-96"].origin == "april"
    monkeypatch.chdir(tmp_path)
    Path("earlier").mkdir()
    Path(imports["march"].path).write_text(example("csv"))
    original, reap = imported_rows({"march": imports["march"]}, ["rte"], ["gsm8k", "ifeval"], ["c4", "numina-math"])
    assert original.gen_tasks == {"gsm8k": Score(89.3, 0.9), "ifeval": Score(90.4, 1.2)}
    assert (original.experts, original.gen, original.ratios) == (128, 89.9, {})
    assert (reap.model, reap.mix, reap.gen) == ("Qwen/Qwen3-30B-A3B-Instruct-2507", "0.3:0.3:0.4", 84.7)
