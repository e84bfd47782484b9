"""Table 3."""

import pytest

from ream.analysis.results.published import load_published
from ream.analysis.tables.mixes import table_3
from tests.analysis.tables.table_rows import FOLDER, records, row


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_table_3_averages_the_methods_that_have_every_mix(published):
    lines = {line["mix"]: line for line in records(table_3(published.mixes))}
    # 0.3:0.3:0.3 at 96 experts: GEN (60.3 + 64.1 + 63.9 + 64.0) / 4, MC (56.2 + 66.1 + 65.7 + 66.3) / 4
    balanced = lines["0.3:0.3:0.3"]
    assert (balanced["name"], float(balanced["general %"])) == ("balanced", pytest.approx(100 / 3))
    assert float(balanced["GEN 96 (paper)"]) == pytest.approx(63.075)
    assert float(balanced["MC 96 (paper)"]) == pytest.approx(63.575)
    assert lines["1:0:0"]["GEN 64 (paper)"] == ""  # REAM alone was run with it
    assert len(lines) == 13


def test_table_3_leaves_out_methods_that_lack_a_mix():
    one, other = {"general": 1.0, "code": 1.0}, {"general": 1.0, "code": 3.0}
    rows = [row("reap", gen=10.0, ratios=one), row("reap", gen=20.0, ratios=other), row("ream", gen=90.0, ratios=one)]
    assert [line["GEN 16 (ours)"] for line in records(table_3(rows))] == ["10.0", "20.0"]


def test_table_3_has_intervals_of_the_mean_over_methods():
    rows = [row("reap", gen=10.0, stderr=1.0), row("ream", gen=20.0, stderr=3.0)]
    (line,) = records(table_3(rows))
    assert float(line["GEN 16 (ours) low"]) == pytest.approx(15 - 1.96 * 2, abs=0.1)
    assert "MC 16 (ours) low" not in line
    assert "±: 95% interval" in table_3(rows).caption
