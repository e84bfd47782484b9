"""Messages are one printable line, whatever is in the names that they repeat."""

import pytest
from typer.testing import CliRunner

from ream.commands.cli import app
from ream.commands.output import print_error, print_rows, say, warn
from ream.errors import LONGEST, UserError, printable

HOSTILE = "a\x1b]0;title\x07\x1b[2J\r\n\u202eb\ud800\u2028\tc"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\r\n\u202eb\ud800\u2028\tc"


@pytest.mark.parametrize("text", ["", "plain", "K·C < N − K → é 東京 🙂", "x" * LONGEST])
def test_printable_text_stays(text):
    assert printable(text) == text


def test_what_is_not_printable_is_escaped():
    assert printable(HOSTILE) == SHOWN
    assert str(UserError(HOSTILE)) == SHOWN


def test_a_long_line_is_cut():
    assert printable("x" * (LONGEST + 1)) == "x" * LONGEST + "…"
    assert len(printable("\x1b" * 10**6)) == LONGEST + 1


def test_everything_that_commands_print(capsys):
    say(HOSTILE)
    print_rows({HOSTILE: "1", "n": HOSTILE})
    warn(HOSTILE)
    print_error(HOSTILE)
    out, err = capsys.readouterr()
    assert all(line.isprintable() for line in (out + err).split("\n"))
    assert out.count(SHOWN) == 3
    assert err == f"warning: {SHOWN}\nerror: {SHOWN}\n"


def test_values_of_a_strangers_config(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "x\\u001b[31m", "num_experts_\\u0007": 8, "num_experts": 8, "experts": "y"}'
    )
    done = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert isinstance(done.exception, UserError)
    assert r"x\x1b[31m" in str(done.exception)
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    assert r"num_experts_\x07" in done.output
