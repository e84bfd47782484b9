import pytest

from tests.models.any_moe import REFUSED, TYPES
from tests.models.family import derived_table


def shown():
    text = derived_table.PAGE.read_text(encoding="utf-8")
    return text.partition(derived_table.BEGIN)[2].partition(derived_table.END)[0]


def test_the_page_has_every_type_and_the_counts():
    lines = shown().splitlines()
    assert derived_table.counts().strip() in lines
    names = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert names == [*TYPES, *REFUSED]


@pytest.mark.slow
def test_the_table_of_the_docs_is_of_the_derivation():
    text = derived_table.PAGE.read_text(encoding="utf-8")
    assert text == derived_table.page_with(derived_table.table(), text)
