"""A client that cannot be installed is named in one line, left out, and tried again by the next call."""

import pytest

from tests.serving import clients, install


@pytest.fixture
def one_client(tmp_path, monkeypatch):
    """A single client whose installation runs a command that the test gives; the environment exists already."""
    commands = []
    monkeypatch.setitem(install.CLIENTS, "vllm", (lambda: [install._run(*command) for command in commands], "v==1"))
    monkeypatch.setitem(clients.MADE, "vllm", tmp_path / "vllm.made")
    monkeypatch.setattr(install, "PYTHON", tmp_path)
    return commands


def test_a_failed_command_is_one_line_that_names_the_client_and_the_reason(one_client):
    one_client.append(["sh", "-c", "echo Collecting; echo 'ERROR: no such version' >&2; echo hint >&2; exit 1"])
    assert install.install("vllm") == "SKIPPED: vllm (v==1) could not be installed here: ERROR: no such version"
    assert clients.missing("vllm") == "vllm could not be installed here; `make test-serving` tries again"


def test_a_command_that_is_killed_tells_its_exit_code_and_how_far_it_came(one_client):
    one_client.append(["sh", "-c", "echo '[1/2] Building'; kill -9 $$"])
    line = install.install("vllm")
    assert line == "SKIPPED: vllm (v==1) could not be installed here: exit code -9 after: [1/2] Building"


def test_a_command_that_does_not_exist_is_a_line_too(one_client, tmp_path):
    one_client.append([tmp_path / "no-such-program"])
    assert install.install("vllm").startswith("SKIPPED: vllm (v==1) could not be installed here: ")
    assert not clients.MADE["vllm"].exists()


def test_what_is_installed_is_not_installed_again_unless_its_version_changes(one_client, tmp_path, monkeypatch):
    one_client.append(["sh", "-c", f"echo run >> {tmp_path / 'runs'}"])
    assert install.install("vllm") == "vllm: v==1, installed"
    assert install.install("vllm") == "vllm: v==1"
    assert clients.missing("vllm") == ""
    monkeypatch.setitem(install.CLIENTS, "vllm", (install.CLIENTS["vllm"][0], "v==2"))
    assert install.install("vllm") == "vllm: v==2, installed"
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_missing_names_every_client_that_is_missing(one_client, tmp_path, monkeypatch):
    monkeypatch.setitem(clients.MADE, "llama.cpp", tmp_path / "llama.cpp.made")
    assert clients.missing("vllm", "llama.cpp").startswith("vllm and llama.cpp could not be installed here")
