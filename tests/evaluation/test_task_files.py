"""Task files that somebody else wrote are checked before lm-eval reads them."""

import os
from pathlib import Path

import pytest

from ream.evaluation.task_files import check_task_files, data_files
from ream.evaluation.tasks import find_tasks
from tests.models.storage.strangers import within
from tests.models.storage.test_checkpoint import refused

OWN = Path("data/tasks")


def test_our_own_pass():
    check_task_files(OWN)
    check_task_files(Path("there/is/no/such/folder"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: [", "is not valid YAML"),
        ("include: x.yaml", "x.yaml includes itself"),
        ("include: y", "y is not a regular file"),
        ("include: [z]", "z does not exist"),
        ("include: /dev/zero", "/dev/zero is not a regular file"),
        ("a: &a [1]\nb: &b [" + "*a," * 20_000 + "]", "has more than 20,000 values"),
    ],
)
def test_what_lm_eval_would_wait_for(text, words, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    os.mkfifo(tmp_path / "y")
    with within(5):
        refused(lambda: check_task_files(tmp_path), str(tmp_path), words) if "/dev" not in text else refused(
            lambda: check_task_files(tmp_path), words
        )
        refused(lambda: find_tasks(["demo_arithmetic"], tmp_path, None), words)


def test_a_pipe_in_place_of_a_task(tmp_path):
    os.mkfifo(tmp_path / "x.yaml")
    with within(5):
        refused(lambda: check_task_files(tmp_path), "x.yaml is not a regular file")


def test_text_that_cannot_be_a_path_names_no_data(tmp_path):
    (tmp_path / "x.yaml").write_text(
        f'dataset_path: {"n" * 5000}\ndataset_kwargs: {{data_files: ["a\\0b", {tmp_path}]}}'
    )
    assert list(data_files(tmp_path)) == [(tmp_path / "x.yaml", tmp_path)]
