from ream.evaluation.answer_counts import AnswerCounts
from ream.evaluation.scores import Cell, SourceLoss, TaskScore
from ream.evaluation.told import details, told, warnings


def cell(**changes):
    counts = AnswerCounts(questions=4, truncated=0)
    task = {"value": 50, "items": 4, "num_fewshot": 0, "version": "1", "metric": "em,none", "counts": counts} | changes
    return Cell(mix=None, method=None, experts=8, tasks={"t": TaskScore(**task)}, gen=50.0, parameters=9)


def test_where_two_extractors_differ_there_is_a_warning():
    assert warnings(cell()) == []
    assert warnings(cell(robust=51.9)) == []
    (line,) = warnings(cell(robust=75))
    assert line.startswith("task 't': em,none is 50.0, but by our own extractor 75.0 % are right")


def test_the_scores_come_first_then_what_was_reused_then_warnings():
    lines = told(cell(counts=AnswerCounts(questions=4, truncated=1)), ["a", "b"]).split("\n")
    assert lines[0] == "original 8 experts: GEN 50.000"
    assert lines[1] == "goes on after 2 finished tasks of an earlier run: a, b"
    assert lines[2].startswith("warning: task 't': 1 of 4 prompts")
    assert len(lines) == 3


def test_details_have_a_line_for_each_loss_and_task():
    loss = SourceLoss(loss=6.12992, stderr=0.05961, tokens=2044, sequences=4)
    assert details(cell(stderr=25.0).model_copy(update={"loss": {"notes": loss}})) == [
        "  loss notes  6.1299 ± 0.0596 nats a token, 4 windows",
        "  t             50.0 ± 25.0   %, 4 questions",
    ]
    assert details(cell())[0].split() == ["t", "50.0", "%,", "4", "questions"]
    assert details(cell().model_copy(update={"tasks": {}})) == []
