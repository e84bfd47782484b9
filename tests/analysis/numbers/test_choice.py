"""Which model is chosen: rows and losses whose answers are known by hand."""

import pytest

from ream.analysis.numbers.choice import AVG, KL, LOSS, Candidate, best_of_methods, choices, worth_considering
from ream.analysis.numbers.intervals import Interval
from ream.analysis.numbers.paired import Paired
from ream.analysis.results.rows import Row, Score
from ream.evaluation.fidelity_records import Measure, Measures
from ream.evaluation.scores import Cell, SourceLoss


def candidate(method, loss=None, kl=None, gen=None, mc=None, experts=8, mix="even", stderr=0.01, half=0.01):
    """A model with a loss on one source, a divergence with an interval, and one task of each suite."""
    of_kl = None if kl is None else Measures(
        kl=Measure(value=kl, low=kl - half, high=kl + half), top_1=Measure(value=9.0),
        perplexity_ratio=Measure(value=1.0), loss=1.0, original_loss=1.0, tokens=9, sequences=3,
    )  # fmt: skip
    losses = {} if loss is None else {"a": SourceLoss(loss=loss, stderr=stderr, tokens=9, sequences=3)}
    tasks = {"mc_tasks": mc, "gen_tasks": gen}
    scores = {name: {} if value is None else {"t": Score(value, 1.0)} for name, value in tasks.items()}
    avg = (gen + mc) / 2 if gen is not None and mc is not None else None
    row = Row("ours", "m", method, experts, {"a": 1.0}, **scores, mc=mc, gen=gen, avg=avg, fidelity=of_kl, called=mix)
    return Candidate(row, Cell(mix=mix, method=method, experts=experts, loss=losses, mean_loss=loss, parameters=80))


def names(candidates):
    return [one.row.method for one in candidates]


def test_the_lowest_divergence_is_chosen_where_all_models_have_one():
    (choice,) = choices([candidate("reap", loss=1.0, kl=0.5), candidate("ream", loss=2.0, kl=0.3)])
    assert (choice.chosen.row.method, choice.measure, choice.tied, choice.decided) == ("ream", KL, (), None)


def test_the_loss_is_taken_where_a_divergence_is_missing():
    (choice,) = choices([candidate("reap", loss=1.0), candidate("ream", loss=2.0, kl=0.3)])
    assert (choice.chosen.row.method, choice.measure) == ("reap", LOSS)


def test_models_within_the_interval_count_as_equal_and_the_next_measure_decides():
    # the difference of two losses has the error 0.01 * sqrt(2): 1.96 of it is 0.0277
    models = [candidate("reap", loss=1.0, gen=40.0, mc=50.0), candidate("ream", loss=1.027, gen=60.0, mc=70.0),
              candidate("ean", loss=1.029, gen=99.0, mc=99.0)]  # fmt: skip
    (choice,) = choices(models)
    assert choice.chosen.row.method == "ream"
    assert choice.decided is AVG
    assert names(choice.tied) == ["reap"], "ean is told apart from the best"


def test_another_mix_of_the_chosen_method_is_not_another_candidate():
    (choice,) = choices(
        [candidate("reap", loss=1.0), candidate("reap", loss=1.001, mix="code"), candidate("ream", 1.0)]
    )
    assert choice.chosen.row.mix == "even"
    assert names(choice.tied) == ["ream"]


def test_divergences_differ_by_the_root_of_their_squared_halves():
    one, other = candidate("reap", kl=0.5, half=0.03), candidate("ream", kl=0.45, half=0.04)
    difference = KL.difference(one, other)  # 0.05 ± sqrt(0.03² + 0.04²)
    assert (difference.low, difference.high) == pytest.approx((0.0, 0.1), abs=1e-12)
    lop = Candidate(candidate("x", kl=0.5).row, one.cell)
    lop.row.fidelity.kl.__dict__.update(low=0.1, high=0.6)  # 0.4 below, 0.1 above
    skewed = KL.difference(lop, other)
    assert skewed.low == pytest.approx(0.05 - (0.4**2 + 0.04**2) ** 0.5)
    assert skewed.high == pytest.approx(0.05 + (0.1**2 + 0.04**2) ** 0.5)


def test_without_intervals_only_equal_values_are_equal():
    plain = [candidate(method, loss=None, gen=gen) for method, gen in (("reap", 50.0), ("ream", 50.0), ("ean", 49.9))]
    for one in plain:
        one.row.gen_tasks.clear()
    (choice,) = choices(plain)
    assert choice.chosen.row.method == "reap", "the first in the order of methods"
    assert names(choice.tied) == ["ream"]
    assert choice.decided is None


def test_sizes_go_from_large_to_small_and_those_without_a_measure_are_left_out():
    made = choices([candidate("reap", loss=2.0, experts=4), candidate("reap", loss=1.0), candidate("ream", experts=2)])
    assert [choice.experts for choice in made] == [8, 4]
    assert choices([]) == []


def test_the_chosen_of_each_size_come_first_and_then_those_as_good():
    models = [
        candidate(name, loss=1.0, experts=experts) for experts in (8, 4) for name in ("reap", "ream", "ean", "own")
    ]
    shown = worth_considering(choices(models))
    assert [(choice.experts, one.row.method) for choice, one in shown] == [
        (8, "ean"), (8, "reap"), (8, "ream"), (4, "ean"), (4, "reap")
    ]  # fmt: skip
    assert len(worth_considering(choices(models), most=3)) == 3


def test_each_method_stands_with_its_best_mix():
    models = [candidate("reap", loss=2.0), candidate("reap", loss=1.5, mix="code"), candidate("ream", loss=1.7),
              candidate("ean")]  # fmt: skip
    assert [(one.row.method, one.row.mix) for one in best_of_methods(models, LOSS)] == [
        ("reap", "code"),
        ("ream", "even"),
    ]


def test_the_distance_from_the_original_is_the_paired_one_where_it_is_known():
    original = Cell(mix=None, method=None, experts=16, mc=80.0, parameters=100)
    plain = candidate("reap", mc=70.0)
    assert plain.below("mc", original) == -10.0
    assert plain.below("gen", original) is None
    paired = Paired({}, Interval(-9.5, -12.0, -7.0), None, None, None)
    assert Candidate(plain.row, plain.cell, paired).below("mc", original) == -9.5
