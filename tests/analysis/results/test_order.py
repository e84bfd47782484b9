"""The order of rows."""

from ream.analysis.results.order import best_by_gen
from tests.analysis.tables.table_rows import row


def test_the_earlier_of_two_equal_mixes_is_best():
    first, second = row(gen=50.0, ratios={"general": 1.0}), row(gen=50.0, ratios={"code": 1.0})
    assert best_by_gen([first, second, row(gen=49.0)]) == [first]
    assert best_by_gen([row(gen=None)]) == []
    assert best_by_gen([row(gen=0.0, ratios={"math": 1.0})])[0].mix == "1"
