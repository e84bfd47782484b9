"""Fidelity as a section of a model card."""

import re

import pytest

from ream.errors import UserError
from ream.evaluation.fidelity_card import BEGIN, END, check_card, write_into_card
from ream.evaluation.fidelity_records import Fidelity, Measure, Measures

CARD = "---\ntags: [moe]\n---\n\n# A model\n\nMade by ream.\n"


def measures(kl, sequences):
    return Measures(
        kl=Measure(value=kl, low=kl / 2, high=2 * kl),
        top_1=Measure(value=91.234, low=90, high=92) if sequences > 1 else Measure(value=91.234),
        perplexity_ratio=Measure(value=1.0625, low=1.0, high=1.125),
        loss=2.0, original_loss=1.9, tokens=1200 * sequences, sequences=sequences,
    )  # fmt: skip


@pytest.fixture
def model(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    return tmp_path


def test_a_section_is_added_and_a_later_one_takes_its_place(model):
    card = check_card(str(model))
    several = Fidelity(sources={"texts/a|b.txt": measures(0.01, 4), "math": measures(0.5, 1)}, mean=measures(0.255, 5))
    write_into_card(card, several, "owner/model_1", 512)
    content = card.read_text()
    assert content.startswith(CARD.rstrip())
    rows = [line for line in content.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        "| a\\|b.txt | 0.0100 [0.0050, 0.0200] | 91.23 [90.00, 92.00] | 1.062 [1.000, 1.125] | 4 | 4,800 |",
        "| math | 0.5000 [0.2500, 1.0000] | 91.23 | 1.062 [1.000, 1.125] | 1 | 1,200 |",
        "| mean | 0.2550 [0.1275, 0.5100] | 91.23 [90.00, 92.00] | 1.062 [1.000, 1.125] | 5 | 6,000 |",
    ]
    assert "to those of owner/model\\_1, on sequences of up to 512 tokens" in content
    card.write_text(content + "\nMore of the card.\n")
    write_into_card(card, Fidelity(sources={"math": measures(0.25, 2)}, mean=measures(0.25, 2)), "o/m", 256)
    again = card.read_text()
    assert (again.count(BEGIN), again.count(END), again.count("## Fidelity")) == (1, 1, 1)
    assert "0.2500 [" in again
    assert "0.0100 [" not in again
    assert again.startswith(CARD.rstrip())
    assert again.endswith("More of the card.\n")


def test_cards_that_cannot_be_written(model):
    with pytest.raises(UserError, match=r"writes into the README\.md of a folder, and owner/name is none"):
        check_card("owner/name")
    (model / "README.md").write_text(f"{CARD}{BEGIN}\n")
    with pytest.raises(UserError, match=f"has '{re.escape(BEGIN)}' without"):
        check_card(str(model))
    (model / "README.md").unlink()
    with pytest.raises(UserError, match=r"has no README\.md"):
        check_card(str(model))
