"""Tables 1, 2, 5 and 6."""

import csv

import pytest

from ream.analysis.results.published import load_published
from ream.analysis.results.rows import beside
from ream.analysis.tables.scores import table_1, table_2, table_of_mixes
from tests.analysis.tables.table_rows import FOLDER, bold, records, row


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_table_1_of_the_paper_has_the_largest_gen_of_every_method(published):
    best = {(line["experts"], line["method"]): (line["mix"], float(line["GEN"]))
             for line in records(table_1(published.mixes))}  # fmt: skip
    expected = {("128", "original"): ("", 70.9)}
    with open(FOLDER / "mixes.csv") as file:
        for line in csv.DictReader(file):
            key, gen = (line["experts"], line["method"]), float(line["GEN"])
            mix = ":".join(line[f"{source}_ratio"] for source in ("general", "math", "code"))
            if key not in expected or gen > expected[key][1]:
                expected[key] = (mix, gen)
    assert best == expected
    assert best["96", "ream"] == ("0:0.5:0.5", 69.8)
    assert list(best)[:5] == [("128", "original"), *(("96", m) for m in ("frequency", "reap", "hc-smoe", "ream"))]


def test_table_1_points_out_the_best_of_each_size_and_never_the_original(published):
    table = table_1(published.mixes)
    # rows: original, four methods at 96, four at 64; REAM leads by GEN at 96 (69.8), REAP at 64 (62.8)
    assert bold(table, "GEN") == [4, 6]
    assert bold(table, "aime25") == [1, 3, 4, 8]  # 60.0 three times at 96; 60.0 of REAM at 64
    assert table.rules == (1, 5)
    assert table.caption.endswith("model: Qwen3-30B-A3B-Instruct-2507; results: paper")


def test_table_2_has_a_block_per_model_at_its_largest_size(published):
    lines = records(table_2(published.large_models))
    assert [(line["model"], line["method"], line["GEN"]) for line in lines[6:]] == [
        ("GLM-4.5-Air", "original", "77.1"), ("GLM-4.5-Air", "reap", "71.9"), ("GLM-4.5-Air", "ream", "73.9")
    ]  # fmt: skip
    assert table_2(published.large_models).rules == (3, 6)
    sizes = {(line["model"], line["experts"]) for line in records(table_2(published.rows))}
    assert sizes == {
        ("Qwen3-30B-A3B-Instruct-2507", "128"), ("Qwen3-30B-A3B-Instruct-2507", "96"),
        ("Qwen3-Next-80B-A3B-Instruct", "512"), ("Qwen3-Next-80B-A3B-Instruct", "384"),
        ("Qwen3-Coder-Next", "512"), ("Qwen3-Coder-Next", "384"), ("GLM-4.5-Air", "128"), ("GLM-4.5-Air", "96"),
    }  # fmt: skip


@pytest.mark.parametrize(("experts", "share", "lines"), [(96, "75%", 44), (64, "50%", 42)])
def test_tables_5_and_6_hold_every_printed_value(published, experts, share, lines):
    table = table_of_mixes(published.mixes, experts, "table-5")
    assert f"{experts} experts, {share} of the original's" in table.caption
    table_lines = records(table)
    assert len(table_lines) == lines
    assert table_lines[0]["method"] == "original"
    printed = {}
    with open(FOLDER / "mixes.csv") as file:
        for line in csv.DictReader(file):
            printed[line["experts"], line["method"], line["general_ratio"], line["code_ratio"]] = line
    for line in table_lines:
        ratios = line["mix"].split(":") if line["mix"] else ["", "", ""]
        expected = printed[line["experts"], line["method"], ratios[0], ratios[2]]
        for name in ("ifeval", "aime25", "gsm8k", "gpqa_diamond", "humaneval", "livecodebench", "MC", "GEN", "AVG"):
            assert float(line[name]) == float(expected[name])


def test_published_rows_stand_beside_ours_of_the_same_mix():
    mixes = {"a": {"general": 0.3, "code": 0.3}, "b": {"general": 0.1, "code": 0.9}}
    ours = [row("original", gen=80.0), row(gen=50.0, ratios=mixes["a"]), row(gen=40.0, ratios=mixes["b"])]
    paper = [row("original", gen=81.0, origin="paper", model="M"),
             row(gen=55.0, ratios={"code": 0.5, "general": 0.5}, origin="paper", model="m")]  # fmt: skip
    table = table_of_mixes(beside(ours, paper), 16, "table-6")
    assert [(line["method"], line["results"], line["GEN"]) for line in records(table)] == [
        ("original", "ours", "80.0"), ("original", "paper", "81.0"),
        ("ream", "ours", "50.0"), ("ream", "paper", "55.0"), ("ream", "ours", "40.0"),
    ]  # fmt: skip
    assert table.rules == (2, 4)
