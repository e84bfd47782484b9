"""What commands print: an error is one line, whatever the names in it."""

from ream.commands.output import print_error


def test_an_error_is_one_line_of_what_can_be_printed(capsys):
    print_error("source 'a\nb\x1b[2J\u2028' is unknown; use letters, as in Ökologie")
    assert capsys.readouterr().err == "error: source 'a\\nb\\x1b[2J\\u2028' is unknown; use letters, as in Ökologie\n"
