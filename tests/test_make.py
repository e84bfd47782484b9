"""`make`: set-up says what it does and shows no error of its own, and `make shell` opens a shell that finds ream."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.tiny import ROOT

BROKEN = {"template.py": "def {{ name }}(:\n", "warns.py": 'print(1 is 1, "\\d")\n', "fine.py": "print(1)\n"}


@pytest.fixture
def clone(tmp_path):
    """A folder as a fresh clone, whose Python installs nothing; two of its libraries cannot be compiled silently."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    library, python = tmp_path / ".venv" / "lib", tmp_path / ".venv" / "bin" / "python"
    library.mkdir(parents=True)
    for name, text in BROKEN.items():
        (library / name).write_text(text)
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\ncase "$*" in *"-m pip install"*) ;; *) exec {sys.executable} "$@" ;; esac\n')
    python.chmod(0o755)
    return tmp_path


def make(clone, *arguments, **changes):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | changes
    command = ["make", *arguments, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_set_up_tells_its_steps_once_and_shows_neither_errors_nor_warnings(clone):
    out, err = make(clone, ".venv/installed")
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines[1:-1]] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    assert "make shell" in lines[-1]
    assert err == ""
    assert len(list((clone / ".venv" / "lib" / "__pycache__").glob("*.pyc"))) == 2  # all that can be compiled
    assert make(clone, ".venv/installed")[0].splitlines() == ["make: '.venv/installed' is up to date."]


def test_a_library_that_cannot_be_installed_ends_the_set_up(clone):
    python = clone / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace('install"*) ;;', 'install"*) exit 1 ;;'))
    with pytest.raises(AssertionError, match="Error 1"):
        make(clone, ".venv/installed")
    assert not (clone / ".venv" / "installed").exists()


def test_the_shell_finds_what_is_installed(clone):
    shell = clone / "shell"
    shell.write_text('#!/bin/sh\necho "$PATH"; echo "$VIRTUAL_ENV"\n')
    shell.chmod(0o755)
    out, _ = make(clone, "shell", SHELL=str(shell))
    path, environment = out.splitlines()[-2:]
    assert path.split(":")[0] == str(clone / ".venv" / "bin")
    assert environment == str(clone / ".venv")
