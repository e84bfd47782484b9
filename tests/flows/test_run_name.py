"""Names of flow runs."""

from flows.run_name import LONGEST, run_name


def test_a_run_is_called_by_what_it_does():
    assert run_name(["evaluate@balanced"], {"mixes.balanced.code": 0.6}) == "evaluate@balanced code=0.6"
    assert run_name([], {}) == "all"
    assert run_name(["saliency", "report"], {}) == "saliency report"


def test_settings_of_the_same_last_name_are_told_apart():
    values = {"mixes.a.code": 0.6, "mixes.b.code": 0.2, "calibration.seed": 1}
    assert run_name([], values) == "all mixes.a.code=0.6 mixes.b.code=0.2 seed=1"


def test_long_names_are_cut():
    name = run_name([f"evaluate@mix-{number}" for number in range(50)], {})
    assert len(name) == LONGEST
    assert name.startswith("evaluate@mix-0 evaluate@mix-1 ")
    assert name.endswith("…")
