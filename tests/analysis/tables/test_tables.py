import csv
import io
from pathlib import Path

import pytest

from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Row, Score, beside
from ream.analysis.tables.best_mixes import table_1, table_2, table_3, table_4, table_of_mixes
from ream.analysis.tables.cost import Cost, table_of_cost
from ream.analysis.tables.score_table import best_by_gen
from ream.analysis.tables.table import csv_text, markdown

FOLDER = Path(__file__).parents[3] / "data" / "published"


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def records(table):
    """The table's rows as a reader of its CSV gets them."""
    return list(csv.DictReader(io.StringIO(csv_text(table))))


def bold(table, column):
    """Rows of the bold values of a column."""
    place = [one.name for one in table.columns].index(column)
    return sorted(row for row, of in table.bold if of == place)


def row(method="ream", experts=16, gen=None, origin="ours", model="org/m", stderr=None, **changes):
    if method == "original":
        experts, changes = 32, {"ratios": {}} | changes
    tasks = {} if gen is None else {"t": Score(gen, stderr)}
    values = {"ratios": {"general": 0.5, "code": 0.5}, "gen": gen, "gen_tasks": tasks} | changes
    return Row(origin=origin, model=model, method=method, experts=experts, **values)


def test_table_1_of_the_paper_has_the_largest_gen_of_every_method(published):
    found = {(line["experts"], line["method"]): (line["mix"], float(line["GEN"]))
             for line in records(table_1(published.mixes))}  # fmt: skip
    expected = {("128", "original"): ("", 70.9)}
    with open(FOLDER / "mixes.csv") as file:
        for line in csv.DictReader(file):
            key, gen = (line["experts"], line["method"]), float(line["GEN"])
            mix = ":".join(line[f"{source}_ratio"] for source in ("general", "math", "code"))
            if key not in expected or gen > expected[key][1]:
                expected[key] = (mix, gen)
    assert found == expected
    assert found["96", "ream"] == ("0:0.5:0.5", 69.8)
    assert list(found)[:5] == [("128", "original"), *(("96", m) for m in ("frequency", "reap", "hc-smoe", "ream"))]


def test_table_1_points_out_the_best_of_each_size_and_never_the_original(published):
    table = table_1(published.mixes)
    # rows: original, four methods at 96, four at 64; REAM leads by GEN at 96 (69.8), REAP at 64 (62.8)
    assert bold(table, "GEN") == [4, 6]
    assert bold(table, "aime25") == [1, 3, 4, 8]  # 60.0 three times at 96; 60.0 of REAM at 64
    assert table.rules == (1, 5)
    assert table.caption.endswith("model: Qwen3-30B-A3B-Instruct-2507; results: paper")


def test_the_earlier_of_two_equal_mixes_is_best():
    first, second = row(gen=50.0, ratios={"general": 1.0}), row(gen=50.0, ratios={"code": 1.0})
    assert best_by_gen([first, second, row(gen=49.0)]) == [first]
    assert best_by_gen([row(gen=None)]) == []
    assert best_by_gen([row(gen=0.0, ratios={"math": 1.0})])[0].mix == "1"


def test_table_2_is_a_block_a_model_with_its_largest_size(published):
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


def test_table_3_averages_the_methods_that_have_every_mix(published):
    lines = {line["mix"]: line for line in records(table_3(published.mixes))}
    # 0.3:0.3:0.3 at 96 experts: GEN (60.3 + 64.1 + 63.9 + 64.0) / 4, MC (56.2 + 66.1 + 65.7 + 66.3) / 4
    balanced = lines["0.3:0.3:0.3"]
    assert (balanced["name"], float(balanced["general %"])) == ("balanced", pytest.approx(100 / 3))
    assert float(balanced["GEN 96 (paper)"]) == pytest.approx(63.075)
    assert float(balanced["MC 96 (paper)"]) == pytest.approx(63.575)
    assert lines["1:0:0"]["GEN 64 (paper)"] == ""  # REAM alone was run with it
    assert len(lines) == 13


def test_table_3_leaves_out_methods_that_lack_a_mix():
    one, other = {"general": 1.0, "code": 1.0}, {"general": 1.0, "code": 3.0}
    rows = [row("reap", gen=10.0, ratios=one), row("reap", gen=20.0, ratios=other), row("ream", gen=90.0, ratios=one)]
    assert [line["GEN 16 (ours)"] for line in records(table_3(rows))] == ["10.0", "20.0"]


def test_table_4_takes_differences_at_the_same_mix(published):
    found = {(line["method"], line["mix"]): line["ΔGEN"] for line in records(table_4(published.ablations))}
    # one-shot at 0:0.3:0.7: 69.0 − 72.9; without gate logits at 0.1:0.1:0.8: 66.9 − 68.8
    assert float(found["ream-one-shot", "0:0.3:0.7"]) == pytest.approx(-3.9)
    assert float(found["ream-no-gate-logits", "0.1:0.1:0.8"]) == pytest.approx(-1.9)
    assert found["reap", "0.2:0.5:0.3"] == ""  # REAM is not printed with this mix
    assert found["ream", "0:0.3:0.7"] == found["original", ""] == ""
    assert len(found) == 16


@pytest.mark.parametrize(("experts", "share", "lines"), [(96, "75%", 44), (64, "50%", 42)])
def test_tables_5_and_6_hold_every_printed_value(published, experts, share, lines):
    table = table_of_mixes(published.mixes, experts, "table-5")
    assert f"{experts} experts, {share} of the original's" in table.caption
    found = records(table)
    assert len(found) == lines
    assert found[0]["method"] == "original"
    printed = {}
    with open(FOLDER / "mixes.csv") as file:
        for line in csv.DictReader(file):
            printed[line["experts"], line["method"], line["general_ratio"], line["code_ratio"]] = line
    for line in found:
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


def test_means_have_intervals_where_standard_errors_are_known(published):
    # GEN of one task, 50 with the error 2: ± 1.96 · 2; MC of two, 99 with 3 and 4: ± 1.96 · 5 / 2 = 4.9, cut at 100
    mc = {"a": Score(99.0, 3.0), "b": Score(99.0, 4.0)}
    rows = [row(gen=50.0, stderr=2.0, mc=99.0, mc_tasks=mc, avg=74.5), row("reap", gen=40.0)]
    table = table_1(rows)
    reap, ream = records(table)
    assert (float(ream["GEN low"]), float(ream["GEN high"])) == (
        pytest.approx(46.1, abs=0.1),
        pytest.approx(53.9, abs=0.1),
    )
    assert (float(ream["MC low"]), float(ream["MC high"])) == (pytest.approx(94.1, abs=0.1), 100)
    # AVG: 1.96 · hypot(2, 2.5) / 2 = 3.1
    assert float(ream["AVG high"]) - float(ream["AVG low"]) == pytest.approx(6.2, abs=0.2)
    assert (reap["GEN low"], reap["GEN high"], reap["MC low"]) == ("", "", "")
    text = markdown(table)
    assert "| 99.0 ± 4.9 | **50.0 ± 3.9** | 74.5 ± 3.1 |" in text
    assert "±: 95% interval" in text
    assert not table_1(published.mixes).intervals
    assert "±" not in markdown(table_1(published.mixes))


def test_a_caption_names_tasks_whose_error_is_not_known():
    tasks = {"a": Score(50.0, 2.0), "b": Score(50.0)}
    assert table_1([row(gen=50.0, gen_tasks=tasks)]).caption.endswith("; ±: 95% interval, b without its error")


def test_table_3_has_intervals_of_the_mean_over_methods():
    rows = [row("reap", gen=10.0, stderr=1.0), row("ream", gen=20.0, stderr=3.0)]
    (line,) = records(table_3(rows))
    assert float(line["GEN 16 (ours) low"]) == pytest.approx(15 - 1.96 * 2, abs=0.1)
    assert "MC 16 (ours) low" not in line
    assert "±: 95% interval" in table_3(rows).caption


def test_table_4_has_intervals_of_the_differences():
    rows = [row(gen=50.0, stderr=3.0), row("ream-one-shot", gen=48.0, stderr=4.0), row("reap", gen=40.0)]
    table = table_4(rows)
    by_method = {line["method"]: line for line in records(table)}
    assert float(by_method["ream-one-shot"]["ΔGEN low"]) == pytest.approx(-2 - 9.8, abs=0.2)
    assert float(by_method["ream-one-shot"]["ΔGEN high"]) == pytest.approx(-2 + 9.8, abs=0.2)
    assert (by_method["reap"]["ΔGEN"], by_method["reap"]["ΔGEN low"], by_method["ream"]["ΔGEN low"]) == (
        "-10.0",
        "",
        "",
    )
    assert "| −2.0 ± 9." in markdown(table)


def test_a_block_of_one_row_has_no_best():
    assert table_1([row(gen=50.0)]).bold == frozenset()


def test_a_column_of_equals_has_no_best():
    table = table_1([row(gen=50.0), row("reap", gen=50.04), row("ean", gen=50.0), row(gen=1.0, experts=8)])
    assert table.bold == frozenset()
    table = table_1([row(gen=50.0), row("reap", gen=50.0), row("ean", gen=49.0)])
    assert bold(table, "GEN") == [1, 2]


def test_costs_are_in_order_and_against_the_original():
    costs = [
        Cost("ream", 16, 6_000_000, 24_000_000, 90.5, 2_000_000_000),
        Cost("reap", 24, 8_000_000),
        Cost("original", 32, 10_000_000, 40_000_000),
        Cost("reap", 16, 6_000_000, seconds=30.0),
    ]
    table = table_of_cost(costs)
    assert [tuple(line.values()) for line in records(table)] == [
        ("32", "original", "10.0", "100.0", "0.04", "", ""),
        ("24", "reap", "8.0", "80.0", "", "", ""),
        ("16", "reap", "6.0", "60.0", "", "30.0", ""),
        ("16", "ream", "6.0", "60.0", "0.024", "90.5", "2.0"),
    ]
    assert table.rules == (1, 2)


def test_costs_without_an_original_have_no_share():
    assert records(table_of_cost([Cost("ream", 16, 6_000_000)]))[0]["% of the original"] == ""
