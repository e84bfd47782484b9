"""The repository is found, and a server that does not answer is refused."""

import pytest

from flows.settings import check_server, repository
from ream.errors import UserError


def test_the_repository_is_found_from_below(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setenv("REAM_REPOSITORY", str(tmp_path / "a" / "b"))
    assert repository() == tmp_path
    (tmp_path / "dvc.yaml").unlink()
    with pytest.raises(UserError, match=r"no dvc.yaml in .* or above it; run this inside the repository"):
        repository()


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(UserError, match=r"server at http://127.0.0.1:9/api can't be reached .*; start it with"):
        check_server()
    monkeypatch.delenv("PREFECT_API_URL")
    check_server()
