"""The help of a command ends with its methods and with examples that the command takes."""

import os
import shlex
import subprocess
import sys

import pytest
import typer

from ream.commands import cli
from ream.commands.examples import examples
from ream.commands.options import METHODS

COMMANDS = typer.main.get_command(cli.app).commands
LINES = [(name, line) for name in COMMANDS for line in examples(name)]


@pytest.fixture
def shown(monkeypatch, capsys):
    """What a command's --help prints."""

    def run(name):
        monkeypatch.setattr(sys, "argv", ["ream", name, "--help"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["inspect", "estimate", "compress", "evaluate", "compare", "init"])
def test_help_ends_with_examples_and_keeps_their_lines(shown, name):
    lines = [line.strip() for line in shown(name).splitlines()]
    after = lines[lines.index("Examples:") + 1 :]
    assert after == list(examples(name))
    assert len(after) >= 2


@pytest.mark.parametrize("name", ["estimate", "compress"])
def test_help_lists_the_methods_unbroken(shown, name):
    text = shown(name)
    block = text[text.index("Methods:\n") + len("Methods:\n") : text.index("Examples:")]
    assert [word.rstrip(",") for word in block.split()] == list(METHODS)


@pytest.mark.parametrize(("name", "line"), LINES)
def test_the_command_takes_its_example(name, line):
    program, command, *arguments = shlex.split(line)
    assert (program, command) == ("ream", name)
    context = COMMANDS[name].make_context(command, arguments)  # raises where an option or argument is wrong
    assert context.params.get("model") or context.params.get("original") or context.params["action"]


def test_a_shell_completes_methods_and_presets():
    def completed(*words):
        asked = {
            "_REAM_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("ream", *words)),
            "COMP_CWORD": str(len(words)),
        }
        run = "import sys; sys.argv = ['ream']; from ream.commands.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", run], env=os.environ | asked, capture_output=True, text=True)
        return done.stdout.split()

    assert completed("compress", "--method", "neurons") == ["neurons-refit", "neurons-fit"]
    assert completed("estimate", "--params", "paper-qwen3-30") == ["paper-qwen3-30b-a3b"]
    assert completed("insp") == ["inspect"]
