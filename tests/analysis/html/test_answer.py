"""The answer in words."""

from dataclasses import replace

from ream.analysis.html.answer import advice
from ream.analysis.numbers.choice import Candidate, choices
from ream.analysis.numbers.intervals import Interval
from ream.analysis.numbers.paired import Paired
from ream.evaluation.scores import Cell
from tests.analysis.numbers.test_choice import candidate

ORIGINAL = Cell(mix=None, method=None, experts=32, mean_loss=0.9, mc=80.0, gen=70.0, parameters=100)


def told(*models, original=ORIGINAL):
    return advice(choices(models), original, lambda row: f"write {row.method} {row.experts}")


def test_the_sentence_has_the_numbers():
    one = candidate("reap", loss=1.0, kl=0.25, mc=78.0, gen=66.0, half=0.05)
    paired = Paired({}, Interval(-2.0, -5.0, 0.5), Interval(-4.0, -5.0, -3.0), None, None)
    (only,) = told(Candidate(one.row, one.cell, paired))
    assert only.lead == (
        "Keep 8 of 32 experts with reap on even: −2.0 ± 3.0 MC, −4.0 ± 1.0 GEN, KL 0.25 ± 0.05, held-out loss +0.10, "
        "20% smaller."
    )
    assert only.note == "By KL, no other method is as good."
    assert only.command == "write reap 8"


def test_what_is_not_known_is_not_told():
    (only,) = told(candidate("reap", gen=66.0), original=replace_scores(mean_loss=None, mc=None))
    assert only.lead == "Keep 8 of 32 experts with reap on even: −4.0 GEN, 20% smaller."


def replace_scores(**changes):
    return ORIGINAL.model_copy(update=changes)


def test_those_that_cannot_be_told_apart_are_named_with_what_decided():
    models = [candidate("reap", loss=1.0, gen=40.0, mc=50.0), candidate("ream", loss=1.01, gen=60.0, mc=70.0)]
    (only,) = told(*models)
    assert only.lead.startswith("Keep 8 of 32 experts with ream on even: −10.0 MC, −10.0 GEN")
    assert only.note == (
        "By held-out loss, it cannot be told apart from reap on even; of these it has the highest AVG."
    )


def test_further_sizes_are_short():
    large, small = told(candidate("reap", loss=1.0), candidate("ream", loss=2.0, experts=4))
    assert large.lead.startswith("Keep 8 of 32 experts with reap")
    assert small.lead.startswith("At 4 with ream on even: held-out loss +1.10")


def test_a_mix_without_a_name_is_its_ratios():
    one = candidate("reap", loss=1.0)
    (only,) = told(Candidate(replace(one.row, called="", ratios={}), one.cell))
    assert "with reap: held-out loss" in only.lead
