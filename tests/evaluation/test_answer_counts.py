from ream.evaluation.answer_counts import AnswerCounts, counts_of, robust_score, warnings_of
from tests.evaluation.answer_rows import row


def test_counts_are_over_questions_and_answers():
    answers = [
        row(doc_id=0, tokens=2, cut=False, correct=1.0),
        row(doc_id=1, tokens=6, cut=True, correct=0.0, truncated=True, unparsed=True),
        row(doc_id=2, tokens=4, cut=True, correct=1.0, open=True),
        row(doc_id=2, repeat=1, tokens=4, cut=False, correct=0.0, loops=True),
    ]
    assert counts_of(answers) == AnswerCounts(
        questions=3, truncated=1, answers=4, cut=2, cut_wrong=1, unparsed=1, thinking_open=1, loops=1, mean_tokens=4.0
    )


def test_of_choices_only_prompts_are_counted():
    choices = {"unparsed": None, "open": None, "loops": None, "tokens": None, "cut": None}
    answers = [row(doc_id=0, truncated=True, **choices), row(doc_id=1, **choices)]
    assert counts_of(answers) == AnswerCounts(questions=2, truncated=1)


def test_questions_of_two_tasks_of_a_group_are_different():
    assert counts_of([row(subtask="a"), row(subtask="b")]).questions == 2


def test_what_a_backend_does_not_say_is_not_counted():
    counts = counts_of([row(tokens=None, cut=None)])
    assert (counts.answers, counts.cut, counts.cut_wrong, counts.mean_tokens) == (1, None, None, None)


def test_the_robust_score_is_the_mean_in_percent():
    assert robust_score([row(robust=1.0), row(robust=0.0), row(robust=1.0), row(robust=1.0)]) == {"robust": 75.0}
    assert robust_score([row()]) == {}


def test_a_warning_is_one_line_a_task():
    fine = AnswerCounts(questions=3, truncated=0, answers=3, cut=2, cut_wrong=0, unparsed=0, thinking_open=0, loops=0)
    bad = fine.model_copy(update={"truncated": 2, "cut_wrong": 1, "loops": 3})
    (line,) = warnings_of([("a", fine), ("b", bad), ("c", None), ("d", AnswerCounts(questions=1, truncated=0))])
    assert line.startswith("task 'b': 2 of 3 prompts lost their beginning")
    assert "1 of 3 answers were cut by the limit of tokens and are wrong" in line
    assert line.endswith("3 of 3 answers end in a loop")
