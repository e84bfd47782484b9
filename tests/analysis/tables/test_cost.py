"""The table of costs."""

from ream.analysis.tables.cost import Cost, table_of_cost
from tests.analysis.tables.table_rows import records


def test_costs_are_in_order_and_against_the_original():
    costs = [
        Cost("ream", 16, 6_000_000, 24_000_000, 90.5, 2_000_000_000),
        Cost("reap", 24, 8_000_000),
        Cost("original", 32, 10_000_000, 40_000_000),
        Cost("reap", 16, 6_000_000, seconds=30.0),
    ]
    table = table_of_cost(costs)
    assert [tuple(line.values()) for line in records(table)] == [
        ("32", "original", "10.0", "100.0", "0.04", "", ""),
        ("24", "reap", "8.0", "80.0", "", "", ""),
        ("16", "reap", "6.0", "60.0", "", "30.0", ""),
        ("16", "ream", "6.0", "60.0", "0.024", "90.5", "2.0"),
    ]
    assert table.rules == (1, 2)


def test_what_was_not_measured_has_no_column():
    costs = [Cost("original", 32, 10_000_000, 40_000_000), Cost("reap", 24, 8_000_000)]
    assert list(records(table_of_cost(costs))[0]) == [
        "experts", "method", "parameters (million)", "% of the original", "checkpoint (GB)"
    ]  # fmt: skip
    assert "peak memory (GB)" in records(table_of_cost([*costs, Cost("ream", 24, peak_bytes=5)]))[0]


def test_costs_without_an_original_have_no_share():
    assert records(table_of_cost([Cost("ream", 16, 6_000_000)]))[0]["% of the original"] == ""
