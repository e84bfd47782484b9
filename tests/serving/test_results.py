"""The page's table is the one that the results make, and every family has a result of every client."""

from ream.models.family.families import FAMILIES
from tests.serving.checkpoints import CASES
from tests.serving.results import AGREES, LIMIT, NOT_RUN, REFUSED, RESULTS, VERSIONS
from tests.serving.serving_table import PAGE, page_with, table


def test_every_family_has_a_result_of_every_client():
    assert RESULTS.keys() == VERSIONS.keys()
    assert all(results.keys() == CASES.keys() for results in RESULTS.values())
    assert FAMILIES.keys() <= CASES.keys()


def test_results_are_what_their_kind_says():
    for result in (result for results in RESULTS.values() for result in results.values()):
        measured = [result.original, result.compressed]
        assert all(0 < value < LIMIT for value in measured) == (result.kind == AGREES)
        assert (measured == [0, 0]) == (result.kind in (REFUSED, NOT_RUN))
        assert bool(result.why) == (result.kind != AGREES)
        assert bool(result.message) == (result.kind == REFUSED)


def test_the_page_has_the_table_of_the_results():
    text = PAGE.read_text(encoding="utf-8")
    assert page_with(table(), text) == text
