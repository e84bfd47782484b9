from ream.calibration.document import Document
from ream.evaluation.demo.prose import Passage, passages, tail


def test_a_passage_is_cut_before_its_last_words():
    passage = Passage("d", "Before it. ", "One two three four five.")
    assert passage.cut(2) == ("Before it. One two three", "four five.")
    assert tail("a b\n\nc  d", 3) == "b\n\nc  d"


def test_passages_keep_all_text_before_them():
    document = Document("d", "First here. Second there.\n\nThird one.")
    assert [(passage.before, passage.sentence) for passage in passages([document])] == [
        ("", "First here."),
        ("First here. ", "Second there."),
        ("First here. Second there.\n\n", "Third one."),
    ]
