from ream.calibration.builtin import Document
from ream.evaluation.held_out import held_out_documents, long_sentences, shingles, without_seen

COPIED = "Get the parameters of this estimator and of its parts, if there are any."
OWN = "This estimator is like no other that has been written down so far."


def test_a_sentence_is_found_in_source_however_its_lines_break():
    source = f'class A:\n    def get(self):\n        """{COPIED[:26]}\n        {COPIED[27:]}\n        """\n'
    assert long_sentences(COPIED) <= long_sentences(source)
    assert long_sentences("Too short. Far too short.") == set()


def test_paragraphs_with_a_seen_sentence_are_left_out():
    documents = [Document("a", f"{OWN}\n\nFirst of all. {COPIED}"), Document("b", COPIED)]
    kept = list(without_seen(documents, long_sentences(COPIED)))
    assert kept == [Document("a", OWN)]


def test_shingles_are_runs_of_four_lines_without_blanks_and_indentation():
    # by hand: lines a b c d e without the blank one give the runs abcd and bcde
    assert shingles("a\n  b\n\nc\nd\n e") == {"a\nb\nc\nd", "b\nc\nd\ne"}
    assert shingles("a\nb") == set()


def test_held_out_code_is_of_its_split():
    from ream.calibration import builtin

    first = next(held_out_documents("code"))
    assert first == next(builtin.documents("code", "held-out"))
