from ream.analysis.tables.answers import table_of_answers
from ream.evaluation.answer_counts import AnswerCounts
from ream.evaluation.scores import Cell, TaskScore


def score(counts, robust=None):
    return TaskScore(value=50, items=4, num_fewshot=0, version="1", metric="acc,none", counts=counts, robust=robust)


def test_generative_tasks_have_a_row_and_others_where_prompts_were_truncated():
    generated = AnswerCounts(
        questions=4, truncated=0, answers=4, cut=1, cut_wrong=1, unparsed=2, thinking_open=0, loops=1, mean_tokens=7.5
    )
    tasks = {
        "g": score(generated, 75), "fits": score(AnswerCounts(questions=4, truncated=0)),
        "long": score(AnswerCounts(questions=4, truncated=3)), "old": score(None),
    }  # fmt: skip
    table = table_of_answers([Cell(mix=None, method=None, experts=8, tasks=tasks, parameters=9)])
    assert table.rows == (
        ("original", None, 8, "g", 4, 0, 1, 2, 0, 1, 7.5, 50, 75),
        ("original", None, 8, "long", 4, 3, None, None, None, None, None, 50, None),
    )


def test_results_of_earlier_versions_have_no_table():
    assert table_of_answers([Cell(mix=None, method=None, experts=8, tasks={"old": score(None)}, parameters=9)]) is None
