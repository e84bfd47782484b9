"""Points of the overview."""

from ream.analysis.numbers.overview import CODE, GEN, code_measure, overview_points
from ream.analysis.results.rows import Row, Score


def row(method="ream", gen=40.0, experts=8, model="m", origin="ours", mc=50.0, parameters=None, code=None, **ratios):
    """``code``: (HumanEval, LiveCodeBench)."""
    tasks = {"gsm8k": Score(gen or 0.0)}
    if code is not None:
        tasks |= {"humaneval": Score(code[0]), "livecodebench": Score(code[1])}
    return Row(origin, model, method, experts, ratios, gen_tasks=tasks, mc=mc, gen=gen, parameters=parameters)


def test_the_mix_of_highest_gen_stands_for_a_method():
    rows = [row(gen=40.0, parameters=7, mc=60.0, math=1.0), row(gen=41.0, parameters=7, mc=30.0, code=(1.0, 2.0)),
            *(row(gen=None, experts=4, parameters=5, mc=mc) for mc in (20.0, 21.0, 19.0))]  # fmt: skip
    points = overview_points(rows, {})
    assert [(point.row, point.parameters, point.code, point.mc) for point in points] == [
        (rows[1], 7, 41.0, 30.0), (rows[3], 5, None, 21.0)
    ]  # fmt: skip


def test_code_is_shown_where_all_rows_have_its_tasks():
    rows = [row(code=(90.0, 40.0), parameters=7), row("reap", gen=None, parameters=7)]
    assert code_measure(rows) == CODE
    assert [point.code for point in overview_points(rows, {})] == [None, 65.0]
    rows.append(row("ean", gen=30.0, parameters=7))
    assert code_measure(rows) == GEN
    assert [point.code for point in overview_points(rows, {})] == [30.0, None, 40.0]
    assert code_measure([]) == GEN


def test_parameters_are_the_rows_own_or_of_the_same_model_and_size():
    rows = [row(parameters=7, model="org/m@main"), row(origin="paper"), row(origin="paper", experts=4),
            row(origin="paper", experts=2), row("ream-one-shot", parameters=7)]  # fmt: skip
    counts = [
        (point.row.origin, point.row.experts, point.parameters) for point in overview_points(rows, {("x/M", 4): 5})
    ]
    assert counts == [("ours", 8, 7), ("paper", 8, 7), ("paper", 4, 5)]
