import pytest

from ream.errors import UserError
from ream.evaluation.scores import (
    Cell,
    Scores,
    SourceLoss,
    TaskScore,
    mean_loss,
    ordered,
    read_scores,
    suite_means,
    write_scores,
)


def test_means_by_hand():
    # MC = (50 + 70) / 2 = 60, GEN = 20, AVG = (60 + 20) / 2 = 40, not the mean of the three tasks
    assert suite_means({"a": 50.0, "b": 70.0, "c": 20.0}, ["a", "b"], ["c"]) == {"mc": 60.0, "gen": 20.0, "avg": 40.0}


def test_a_suite_without_one_kind_has_no_average():
    assert suite_means({"a": 50.0}, ["a"], []) == {"mc": 50.0, "gen": None, "avg": None}
    assert suite_means({}, [], []) == {"mc": None, "gen": None, "avg": None}


def test_the_mean_loss_weighs_sources_alike():
    assert mean_loss({"a": {"loss": 1.0, "tokens": 10}, "b": {"loss": 2.0, "tokens": 1000}}) == 1.5
    assert mean_loss({}) is None


def cell(**changes):
    task = TaskScore(
        value=50.0, stderr=1.5, items=9, num_fewshot=0, version="1", metric="acc,none", settings={"seed": 0}
    )
    loss = SourceLoss(loss=2.0, stderr=0.1, tokens=63, sequences=1)
    values = {
        "mix": "balanced", "method": "ream", "experts": 4, "loss": {"math": loss}, "mean_loss": 2.0,
        "tasks": {"t": task}, "mc": 50.0, "gen": None, "avg": None, "parameters": 10,
    }  # fmt: skip
    return Cell(**(values | changes))


def test_a_file_of_scores_is_read_as_it_was_written(tmp_path):
    scores = Scores(cells=[cell(), cell(mix=None, method=None)], settings={"suite": "demo"}, versions={"torch": "2"})
    write_scores(tmp_path / "scores.json", scores)
    assert read_scores(tmp_path / "scores.json") == scores


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{", "not valid JSON"), ('{"cells": [{"mix": 1}]}', "cells.0"), ('{"cells": [], "more": 1}', "more")],
)
def test_another_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(UserError, match=reason):
        read_scores(path)


def test_scores_are_percentages():
    with pytest.raises(ValueError, match="value"):
        TaskScore(value=150.0, items=1, num_fewshot=0, version="1", metric="acc,none")


def test_cells_come_by_mix_size_and_method_after_the_original():
    def cell(mix, method, experts):
        return Cell(mix=mix, method=method, experts=experts, parameters=1)

    grid = [(mix, method, experts) for experts in (2, 4) for method in ("ream", "reap") for mix in ("code", "even")]
    cells = [cell(*key) for key in (*grid, ("other", "ream", 4), (None, None, 8))]
    placed = ordered(cells, ["even", "code"], ["reap", "ream"], [4, 2])
    assert [(one.mix, one.method, one.experts) for one in placed] == [
        (None, None, 8), ("even", "reap", 4), ("even", "ream", 4), ("even", "reap", 2), ("even", "ream", 2),
        ("code", "reap", 4), ("code", "ream", 4), ("code", "reap", 2), ("code", "ream", 2),
    ]  # fmt: skip
