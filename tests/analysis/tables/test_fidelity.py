"""Fidelity in tables: by source, and beside scores."""

import pytest

from ream.analysis.tables.fidelity import table_of_fidelity
from ream.analysis.tables.formats import markdown
from ream.analysis.tables.scores import table_1
from ream.evaluation.fidelity_records import Fidelity, Measure, Measures
from tests.analysis.tables.table_rows import bold, records, row


def measures(kl, width=0.25):
    ends = {} if width is None else {"low": kl - width, "high": kl + width}
    return Measures(
        kl=Measure(value=kl, **ends), top_1=Measure(value=90.0), perplexity_ratio=Measure(value=1.5), loss=3.0,
        original_loss=2.5, tokens=70, sequences=7,
    )  # fmt: skip


def test_a_row_for_each_source_and_their_mean():
    two = Fidelity(sources={"math": measures(1), "code": measures(2, None)}, mean=measures(1.5))
    one = Fidelity(sources={"math": measures(3)}, mean=measures(3))
    table = table_of_fidelity([(row("ream"), two), (row("reap"), one)])
    shown = [(line["method"], line["text"], float(line["KL"]), line["KL low"]) for line in records(table)]
    assert shown == [
        ("ream", "math", 1, "0.75"), ("ream", "code", 2, ""), ("ream", "mean", 1.5, "1.25"),
        ("reap", "math", 3, "2.75"),
    ]  # fmt: skip
    assert table.rules == (3,)
    text = markdown(table)
    assert "| ream | 0.5:0.5 | 16 | math | 1.0000 ± 0.2500 | 90.00 | 1.500 | 3.000 | 2.500 | 7 | 70 |" in text


def test_kl_is_the_last_column_of_score_tables_and_never_bold_as_the_largest():
    rows = [row(gen=50.0, fidelity=measures(0.5)), row("reap", gen=40.0, fidelity=measures(2.0)), row("ean", gen=1.0)]
    table = table_1(rows)
    assert [column.name for column in table.columns][-1] == "KL"
    found = {line["method"]: line["KL"] for line in records(table)}
    assert found == {"ream": "0.5", "reap": "2.0", "ean": ""}
    assert bold(table, "KL") == []
    assert len(bold(table, "GEN")) == 1
    assert "nats per token; ±: 95% interval" in table.caption
    assert "0.5000 ± 0.2500" in markdown(table)


def test_without_a_measure_nothing_changes():
    table = table_1([row(gen=50.0), row("reap", gen=40.0)])
    assert "KL" not in [column.name for column in table.columns]
    assert "KL" not in table.caption


@pytest.mark.parametrize("width", [None, 0.1])
def test_a_mean_over_one_source_is_not_repeated(width):
    table = table_of_fidelity([(row(), Fidelity(sources={"math": measures(1, width)}, mean=measures(1, width)))])
    assert len(table.rows) == 1
    assert bool(table.intervals) == (width is not None)
