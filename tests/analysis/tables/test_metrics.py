"""Headline metrics, the metrics of each model, and the data of the plots, by hand."""

from ream.analysis.tables.metrics import headline, model_metrics, plot_csv
from tests.analysis.tables.test_results import cell

ORIGINAL = cell(None, None, 8, 1.5, mc=80.0, gen=60.04, avg=70.02)
BETTER = cell("code", "reap", 4, 2.25678, mc=50.04, gen=55.06, avg=52.52)
WORSE = cell("even", "ream", 4, 2.0, mc=60.0, gen=40.0, avg=50.0)
SMALL = cell("even", "ream", 2, 3.0, mc=20.0)


def test_the_headline_is_the_best_model_of_each_size():
    assert headline([ORIGINAL, WORSE, BETTER, SMALL]) == {
        "MC": 80.0, "GEN": 60.0, "loss": 1.5, "best@4": "reap", "MC@4": 50.0, "GEN@4": 55.1, "loss@4": 2.257,
        "best@2": "ream", "MC@2": 20.0, "loss@2": 3.0,
    }  # fmt: skip


def test_ties_go_to_the_earlier_model():
    tie = cell("code", "hc-smoe", 4, 1.9, mc=60.0, gen=40.0, avg=50.0)
    assert headline([WORSE, tie])["best@4"] == "ream"
    assert headline([tie, WORSE])["best@4"] == "hc-smoe"


def test_a_score_of_zero_is_a_score():
    unscored = cell("even", "hc-smoe", 4, 1.0)
    assert headline([unscored, cell("even", "reap", 4, 3.0, gen=0.0)]) == {
        "best@4": "reap",
        "GEN@4": 0.0,
        "loss@4": 3.0,
    }


def test_without_tasks_the_lowest_loss_is_the_best():
    cells = [cell("even", "reap", 4, 3.0), cell("even", "ream", 4, 2.0), cell("even", "ean", 2)]
    assert headline(cells) == {"best@4": "ream", "loss@4": 2.0}
    assert headline([]) == {}


def test_a_models_metrics():
    assert model_metrics(BETTER.model_copy(update={"bytes": 61_234_567_890}), ORIGINAL) == {
        "experts": 4, "MC": 50.0, "GEN": 55.1, "AVG": 52.5, "loss": 2.257, "recovery": 75.0, "GB": 61.23,
    }  # fmt: skip  # 52.52 / 70.02
    assert model_metrics(BETTER.model_copy(update={"bytes": 10_912_345}), ORIGINAL)["GB"] == 0.01091
    assert model_metrics(cell("even", "ream", 4), ORIGINAL) == {"experts": 4}
    assert model_metrics(SMALL, cell(None, None, 8, mc=0.0)) == {"experts": 2, "MC": 20.0, "loss": 3.0}
    assert model_metrics(SMALL, None) == {"experts": 2, "MC": 20.0, "loss": 3.0}
    assert model_metrics(SMALL, ORIGINAL)["recovery"] == 25.0, "of MC, because it has no AVG"
    assert model_metrics(SMALL, cell(None, None, 8, gen=80.0)) == {"experts": 2, "MC": 20.0, "loss": 3.0}


def test_data_of_the_plots():
    assert plot_csv([ORIGINAL, WORSE, SMALL, cell("even", "ean", 2)]) == (
        "mix,method,experts,MC,GEN,AVG,loss,recovery\n"
        ",original,8,80.0,60.0,70.0,1.5,100.0\n"
        "even,ream,4,60.0,40.0,50.0,2.0,71.4\n"
        "even,ream,2,20.0,,,3.0,25.0\n"
        "even,ean,2,,,,,\n"
    )
