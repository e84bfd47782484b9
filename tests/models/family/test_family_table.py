from ream.models.family.families import FAMILIES
from tests.models.families import TINY
from tests.models.family import family_table


def test_every_family_has_a_tiny_model():
    assert set(TINY) == set(FAMILIES)


def test_the_table_of_the_docs_is_of_the_entries_and_the_tests():
    text = family_table.PAGE.read_text(encoding="utf-8")
    assert text == family_table.page_with(family_table.table(), text)
    assert all(f"| `{name}` |" in text for name in FAMILIES)
