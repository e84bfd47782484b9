"""Verdicts of hand-made rows whose answers are known."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ream.analysis.html.published_note import published_note
from ream.analysis.html.statements import listed, number
from ream.analysis.html.strips import PADDING, strips_of
from ream.analysis.html.verdict import ONE_METHOD_BEST, verdicts
from ream.analysis.results.rows import Row, Score
from tests.analysis.html.html_parts import MIXES, cell, row


def best(rows, cells=()):
    """Statements of the only size by subject."""
    (verdict,) = verdicts(rows, cells, MIXES)
    (size,) = verdict.sizes
    return {statement.subject: statement for statement in size.best}


def numbers(text):
    return [float(text_number.replace("−", "-")) for text_number in re.findall(r"[-−]?\d+\.\d+", text)]


def test_a_difference_beyond_noise():
    # each mean of two tasks has the error 1 / sqrt(2), their difference 1: 15 is beyond, with 15 ± 1.96
    gen = best([row("original", 70.0, experts=16), row("ream", 60.0), row("reap", 45.0)])["GEN"]
    assert gen.standing == "clear"
    assert gen.text.startswith("ream on even (0.5:0.5) has the highest GEN: 60.0 (95% interval ")
    assert "; the original has 70.0. The runner-up is reap on even (0.5:0.5) with 45.0 (95% interval" in gen.text
    difference = gen.text[gen.text.index("The difference") :]
    assert numbers(difference) == [15.0, 13.0, 17.0]  # 15 ± 1.96
    assert difference.endswith("is beyond noise.")
    assert [point.method for point in gen.points] == ["ream", "reap"]
    assert (gen.points[0].low, gen.points[0].high) == pytest.approx((60 - 1.386, 60 + 1.386), abs=1e-3)
    assert gen.reference == 70.0


def test_a_difference_within_noise():
    gen = best([row("ream", 60.0), row("reap", 59.0)])["GEN"]  # 1.0 ± 1.96
    assert gen.standing == "noise"
    assert gen.text.endswith("is within noise: neither is shown to be better.")
    assert "the original" not in gen.text


def test_without_standard_errors_the_standing_is_unknown():
    gen = best([row("ream", 60.0, stderr=None), row("reap", 45.0, stderr=None)])["GEN"]
    assert gen.standing == "unknown"
    assert gen.text == (
        "ream on even (0.5:0.5) has the highest GEN: 60.0. The runner-up is reap on even (0.5:0.5) with 45.0. "
        "Whether the difference of 15.0 is more than noise is not known: there are no standard errors."
    )
    assert [(point.low, point.high) for point in gen.points] == [(None, None)] * 2


def test_models_scored_on_other_tasks_do_not_compare():
    other = replace(row("reap", 45.0), gen_tasks={"g1": Score(45.0, 1.0)})
    gen = best([row("ream", 60.0), other])["GEN"]
    assert gen.standing == "unknown"
    assert gen.text.endswith("is not known: the two were not scored on the same tasks.")


def test_tasks_without_an_error_are_named():
    rows = [row("ream", 60.0), row("reap", 45.0)]
    rows = [replace(one, gen_tasks={**one.gen_tasks, "g2": Score(one.gen, None)}) for one in rows]
    assert best(rows)["GEN"].text.endswith(" Tasks without a standard error count as exact: g2.")


def test_each_method_stands_with_its_best_mix():
    rows = [row("ream", 50.0), row("ream", 60.0, mix="coding"), row("reap", 55.0), row("reap", 52.0, mix="coding")]
    gen = best(rows)["GEN"]
    assert [(point.method, point.detail, point.value) for point in gen.points] == [
        ("ream", "coding (0.2:0.8)", 60.0), ("reap", "even (0.5:0.5)", 55.0)
    ]  # fmt: skip
    assert ONE_METHOD_BEST in verdicts(rows)[0].notes
    assert ONE_METHOD_BEST not in verdicts([rows[0], rows[2]])[0].notes


def test_avg_is_judged_by_both_suites():
    rows = [row("ream", 60.0, mc=50.0), row("reap", 45.0, mc=70.0)]
    statements = best(rows)
    assert statements["GEN"].text.startswith("ream")
    # 57.5 against 55: each mean of two suites has the error 0.5, their difference 0.71: 2.5 ± 1.39
    assert statements["AVG"].text.startswith("reap on even (0.5:0.5) has the highest AVG: 57.5 (")
    assert statements["AVG"].standing == "clear"
    (_, low, high) = numbers(statements["AVG"].text[statements["AVG"].text.index("The difference") :])
    assert (low, high) == (1.1, 3.9)


def test_the_lowest_held_out_loss():
    rows = [row("ream", 60.0), row("reap", 45.0)]
    cells = [cell(None, {"a": 1.0, "b": 2.0}, experts=16), cell("ream", {"a": 3.0, "b": 4.0}),
             cell("reap", {"a": 2.0, "b": 4.0})]  # fmt: skip
    loss = best(rows, cells)["Held-out loss"]
    # the mean of two errors of 0.1 has 0.0707, the difference of two such means 0.1
    assert loss.standing == "clear"
    assert numbers(loss.text.replace("(0.5:0.5)", "").replace("95%", "")) == [
        3.0, 2.861, 3.139, 1.5, 3.5, 3.361, 3.639, 0.5, 0.304, 0.696
    ]  # fmt: skip
    assert "reap on even (0.5:0.5) has the lowest mean held-out loss" in loss.text
    near = [cell("ream", {"a": 3.0, "b": 4.0}), cell("reap", {"a": 3.0, "b": 3.9})]
    assert best(rows, near)["Held-out loss"].standing == "noise"
    other = [cell("ream", {"a": 3.0, "b": 4.0}), cell("reap", {"a": 3.0})]
    assert "not scored on the same text" in best(rows, other)["Held-out loss"].text


def test_equal_values_go_to_the_method_that_tables_name_first():
    gen = best([row("ream", 60.0), row("reap", 60.0)])["GEN"]
    assert [point.method for point in gen.points] == ["reap", "ream"]
    assert "The difference of 0.0" in gen.text
    assert gen.standing == "noise"


def mixes(method="ream", count=6, origin="ours", gen=None, mc=None):
    """Rows over mixes of growing share of code."""
    shares = np.linspace(0.1, 0.9, count)
    gens = 40 + 20 * shares if gen is None else gen
    mcs = 70 - 30 * shares if mc is None else mc
    return [Row(origin, "m", method, 8, {"general": 1 - share, "code": float(share)}, mc=float(m), gen=float(g))
            for share, g, m in zip(shares, gens, mcs, strict=True)]  # fmt: skip


def of_sources(rows):
    (verdict,) = verdicts(rows)
    (size,) = verdict.sizes
    return {statement.subject: statement for statement in size.sources}


def test_what_each_source_buys_in_words():
    gen = np.array([40.0, 43.0, 41.0, 46.0, 44.0, 50.0])
    statements = of_sources(mixes(gen=gen, mc=-gen))
    assert list(statements) == ["general → MC", "general → GEN", "code → MC", "code → GEN", "MC ↔ GEN"]
    reference = stats.pearsonr(np.linspace(0.1, 0.9, 6), gen)
    low, high = reference.confidence_interval(0.95)
    r = reference.statistic
    assert low > 0
    assert statements["code → GEN"].text == (
        f"A larger share of code goes with higher GEN for ream (r = +{r:.2f}, 95% interval +{low:.2f} to +{high:.2f}). "
        "6 mixes each."
    )
    assert statements["code → MC"].text.startswith(
        f"A larger share of code goes with lower MC for ream (r = −{r:.2f}, 95% interval −{high:.2f} to −{low:.2f})"
    )
    assert statements["MC ↔ GEN"].text.startswith("A higher MC goes with lower GEN for ream (r = −1.00")
    assert {statement.standing for statement in statements.values()} == {"clear"}
    assert statements["code → GEN"].points[0].value == pytest.approx(r)


def test_methods_are_grouped_by_the_direction_of_their_correlation():
    up, flat = np.arange(6.0), np.array([1.0, 3.0, 1.0, 3.0, 1.0, 3.0])
    rows = [*mixes("frequency", gen=up), *mixes("reap", gen=-up), *mixes("ream", gen=flat), *mixes("ean", gen=0 * up)]
    code = of_sources(rows)["code → GEN"]
    assert re.fullmatch(
        r"A larger share of code goes with higher GEN for frequency \(.*\), with lower GEN for reap \(.*\)\. "
        r"This is unclear for ream \(r = \+0\.29.*\): the interval contains zero\. "
        r"The correlation is not defined for ean \(a column is constant\)\. 6 mixes each\.",
        code.text,
    )
    assert code.standing == "clear"


def test_an_unclear_effect_is_called_unclear():
    flat = np.array([1.0, 3.0, 1.0, 3.0, 1.0, 3.0])
    code = of_sources(mixes(gen=flat))["code → GEN"]
    assert code.text.startswith("How GEN moves with the share of code is unclear for ream (")
    assert code.standing == "noise"
    few = of_sources(mixes(count=3))["code → GEN"]
    assert few.text == (
        "How GEN moves with the share of code is unclear for ream (r = +1.00): fewer than 4 mixes give no "
        "interval. 3 mixes each."
    )
    assert few.standing == "unknown"


def test_one_mix_says_nothing_of_sources():
    (verdict,) = verdicts([row("ream", 60.0, mc=50.0), row("reap", 45.0, mc=50.0)])
    assert verdict.sizes[0].sources == ()
    assert "Only one mix of two or more sources was run, so what each source buys is not known." in verdict.notes


def test_rows_without_mc_or_gen():
    (verdict,) = verdicts([row("ream", 60.0), row("reap", 45.0, mix="coding")])
    assert [statement.subject for statement in verdict.sizes[0].best] == ["GEN"]
    assert "No compressed model has MC, so nothing is said about it." in verdict.notes
    assert "No mix has both MC and GEN, so what each source buys is not known." in verdict.notes
    (verdict,) = verdicts([row("ream", 60.0), row("reap", None, mc=50.0)])
    assert verdict.sizes[0].best[0].text.endswith("No other method has a value at this size.")
    assert "1 compressed model has no GEN and is left out wherever it is needed." in verdict.notes


def test_without_a_compressed_model_there_is_nothing_to_compare():
    (verdict,) = verdicts([row("original", 70.0)])
    assert verdict.sizes == ()
    assert verdict.notes == ("No compressed model has been scored: there is nothing to compare yet.",)
    assert verdicts([]) == ()


def test_sizes_models_origins_and_variants_stay_apart():
    rows = [row("ream", 60.0), row("ream", 50.0, experts=4), row("ream", 90.0, origin="paper"),
            row("ream-one-shot", 99.0), row("reap", 1.0, model="n")]  # fmt: skip
    cells = [cell("ream", {"a": 3.0})]
    by_origin = verdicts(rows, cells)
    assert [(one.model, one.origin, [size.experts for size in one.sizes]) for one in by_origin] == [
        ("m", "ours", [8, 4]), ("m", "paper", [8]), ("n", "ours", [8])
    ]  # fmt: skip
    assert [point.value for point in by_origin[0].sizes[0].best[0].points] == [60.0]
    # two models of ours: it is not said whose the losses are
    assert all(
        statement.subject != "Held-out loss" for one in by_origin for size in one.sizes for statement in size.best
    )
    alone = verdicts(rows[:4], cells)
    assert [statement.subject for statement in alone[0].sizes[0].best] == ["GEN", "Held-out loss"]
    assert [statement.subject for statement in alone[1].sizes[0].best] == ["GEN"]


def test_published_cells_are_told_from_ours():
    rows = [row("ream", 60.0), row("ream", 61.0, origin="paper"), row("reap", 50.0, origin="paper"),
            row("reap", 51.0, origin="paper", mix="coding"), row("ream", 1.0, experts=4, origin="paper")]  # fmt: skip
    assert published_note(rows).endswith(
        "1 cell has both our numbers and the paper's. Published only: reap at 8 experts (2 mixes) and ream at 4 "
        "experts (1 mix)."
    )
    assert published_note(rows[1:]).endswith("None of the numbers here are ours.")
    assert published_note(rows[:1]) is None


def test_strips_share_a_scale():
    gen = best([row("original", 70.0, experts=16), row("ream", 60.0), row("reap", 45.0)])["GEN"]
    strips = strips_of(gen)
    smallest, largest = gen.points[1].low, 70.0
    width = (largest - smallest) * (1 + 2 * PADDING)
    for strip, point in zip(strips.strips, gen.points, strict=True):
        expected = 100 * (point.value - smallest + PADDING * (largest - smallest)) / width
        assert strip.value == pytest.approx(expected, abs=0.01)
        assert 0 <= strip.low < strip.value < strip.high <= 100
    assert strips.reference == pytest.approx(100 * (1 + PADDING) / (1 + 2 * PADDING), abs=0.01)
    correlations = strips_of(of_sources(mixes())["code → GEN"])
    assert correlations.reference == 50.0


def test_numbers_and_lists_in_sentences():
    assert [number(-0.04, 1), number(-0.06, 1), number(0.04, 1, True), number(12.0, 2, True)] == [
        "0.0", "−0.1", "0.0", "+12.00"
    ]  # fmt: skip
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
