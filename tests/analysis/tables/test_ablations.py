"""Table 4."""

import pytest

from ream.analysis.results.published import load_published
from ream.analysis.tables.ablations import table_4
from ream.analysis.tables.formats import markdown
from tests.analysis.tables.table_rows import FOLDER, records, row


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_table_4_takes_differences_at_the_same_mix(published):
    differences = {(line["method"], line["mix"]): line["ΔGEN"] for line in records(table_4(published.ablations))}
    # one-shot at 0:0.3:0.7: 69.0 − 72.9; without gate logits at 0.1:0.1:0.8: 66.9 − 68.8
    assert float(differences["ream-one-shot", "0:0.3:0.7"]) == pytest.approx(-3.9)
    assert float(differences["ream-no-gate-logits", "0.1:0.1:0.8"]) == pytest.approx(-1.9)
    assert differences["reap", "0.2:0.5:0.3"] == ""  # REAM is not printed with this mix
    assert differences["ream", "0:0.3:0.7"] == differences["original", ""] == ""
    assert len(differences) == 16


def test_table_4_has_intervals_of_the_differences():
    rows = [row(gen=50.0, stderr=3.0), row("ream-one-shot", gen=48.0, stderr=4.0), row("reap", gen=40.0)]
    table = table_4(rows)
    by_method = {line["method"]: line for line in records(table)}
    assert float(by_method["ream-one-shot"]["ΔGEN low"]) == pytest.approx(-2 - 9.8, abs=0.2)
    assert float(by_method["ream-one-shot"]["ΔGEN high"]) == pytest.approx(-2 + 9.8, abs=0.2)
    assert (by_method["reap"]["ΔGEN"], by_method["reap"]["ΔGEN low"], by_method["ream"]["ΔGEN low"]) == (
        "-10.0",
        "",
        "",
    )
    assert "| −2.0 ± 9." in markdown(table)
