from ream.evaluation.demo.held_out import shingles


def test_shingles_are_runs_of_four_lines_without_blanks_and_indentation():
    # by hand: lines a b c d e without the blank one give the runs abcd and bcde
    assert shingles("a\n  b\n\nc\nd\n e") == {"a\nb\nc\nd", "b\nc\nd\ne"}
    assert shingles("a\nb") == set()
