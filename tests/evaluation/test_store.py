import pytest

from ream.evaluation.store import ResultStore

SETTINGS = {"limit": None, "num_fewshot": 0}


@pytest.fixture
def store(tmp_path):
    store = ResultStore(tmp_path / "state", "model-1")
    store.write("group/task", SETTINGS, {"value": 1.5})
    return store


def test_what_was_written_is_read(store):
    assert store.read("group/task", dict(reversed(SETTINGS.items()))) == {"value": 1.5}


def test_another_task_model_or_setting_is_not(store):
    assert store.read("task", SETTINGS) is None
    assert store.read("group/task", {**SETTINGS, "limit": 3}) is None
    assert ResultStore(store.folder, "model-2").read("group/task", SETTINGS) is None


@pytest.mark.parametrize("content", ["", "[]", '{"result": {"value": 2}}', "\xff"])
def test_a_damaged_file_counts_for_nothing(store, content):
    next(store.folder.iterdir()).write_text(content, encoding="latin-1")
    assert store.read("group/task", SETTINGS) is None
