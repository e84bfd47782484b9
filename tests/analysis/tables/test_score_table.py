"""Tables of scores: what is bold, intervals, captions."""

import pytest

from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Score
from ream.analysis.tables.formats import markdown
from ream.analysis.tables.scores import table_1
from tests.analysis.tables.table_rows import FOLDER, bold, records, row


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_means_have_intervals_where_standard_errors_are_known(published):
    # GEN of one task, 50 with the error 2: ± 1.96 · 2; MC of two, 99 with 3 and 4: ± 1.96 · 5 / 2 = 4.9, cut at 100
    mc = {"a": Score(99.0, 3.0), "b": Score(99.0, 4.0)}
    rows = [row(gen=50.0, stderr=2.0, mc=99.0, mc_tasks=mc, avg=74.5), row("reap", gen=40.0)]
    table = table_1(rows)
    reap, ream = records(table)
    assert (float(ream["GEN low"]), float(ream["GEN high"])) == (
        pytest.approx(46.1, abs=0.1),
        pytest.approx(53.9, abs=0.1),
    )
    assert (float(ream["MC low"]), float(ream["MC high"])) == (pytest.approx(94.1, abs=0.1), 100)
    # AVG: 1.96 · hypot(2, 2.5) / 2 = 3.1
    assert float(ream["AVG high"]) - float(ream["AVG low"]) == pytest.approx(6.2, abs=0.2)
    assert (reap["GEN low"], reap["GEN high"], reap["MC low"]) == ("", "", "")
    text = markdown(table)
    assert "| 99.0 ± 4.9 | **50.0 ± 3.9** | 74.5 ± 3.1 |" in text
    assert "±: 95% interval" in text
    assert not table_1(published.mixes).intervals
    assert "±" not in markdown(table_1(published.mixes))


def test_a_caption_names_tasks_whose_error_is_not_known():
    tasks = {"a": Score(50.0, 2.0), "b": Score(50.0)}
    assert table_1([row(gen=50.0, gen_tasks=tasks)]).caption.endswith("; ±: 95% interval, b without its error")


def test_a_block_of_one_row_has_no_best():
    assert table_1([row(gen=50.0)]).bold == frozenset()


def test_a_column_of_equals_has_no_best():
    table = table_1([row(gen=50.0), row("reap", gen=50.04), row("ean", gen=50.0), row(gen=1.0, experts=8)])
    assert table.bold == frozenset()
    table = table_1([row(gen=50.0), row("reap", gen=50.0), row("ean", gen=49.0)])
    assert bold(table, "GEN") == [1, 2]
