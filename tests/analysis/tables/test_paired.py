from ream.analysis.numbers.paired import paired
from ream.analysis.results.rows import OURS, Row
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.paired import table_of_pairs


def test_a_row_has_the_differences_of_means_and_tasks_and_the_changed_answers():
    original = {"a": {1: 1, 2: 1, 3: 0, 4: 1}, "g": {1: 0, 2: 1}}
    model = {"a": {1: 1, 2: 0, 3: 0, 4: 0}, "g": {1: 1, 2: 1}}
    row = Row(OURS, "m", "reap", 4, {"math": 1.0})
    table = table_of_pairs([(row, paired(original, model, ["a"], ["g"]))])
    names = [column.name for column in table.columns]
    assert names == ["method", "mix", "experts", "MC", "GEN", "AVG", "lost", "gained", "p", "a", "g"]
    assert table.rows == (("reap", "1", 4, -50.0, 50.0, 0.0, 2, 1, 1.0, -50.0, 50.0),)
    assert {place for _, place in table.intervals} == {3, 4, 5, 9, 10}
    assert "−50.0 ±" in RENDERERS["md"](table)
