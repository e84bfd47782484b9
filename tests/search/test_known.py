"""The mixes that are tried first."""

import csv
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import ream
from ream.params.sources import Source
from ream.search.known import EVEN, PAPER, PAPER_MIXES, SINGLE, compared_with, known_mixes

TABLE = Path(ream.__file__).parents[1] / "data" / "published" / "mixes.csv"


def sources(**kinds):
    read = TypeAdapter(Source).validate_python
    return {
        name: read({"kind": "builtin", "name": kind} if kind else {"kind": "files", "paths": ["x.txt"]})
        for name, kind in kinds.items()
    }


def test_the_papers_mixes_are_those_of_its_published_tables():
    with open(TABLE, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["general_ratio"]]
    published = {tuple(float(row[f"{name}_ratio"]) for name in ("general", "math", "code")) for row in rows}
    assert len(PAPER_MIXES) == 10
    assert {mix for mix in published if sum(share > 0 for share in mix) > 1} == set(PAPER_MIXES)


def test_all_three_kinds_give_ten_mixes_of_the_paper_and_three_single_sources():
    mixes = known_mixes(sources(prose="general", sums="math", python="code"))
    assert [mix.origin for mix in mixes] == [PAPER] * 10 + [SINGLE] * 3
    assert mixes[0].name == "0.3:0.3:0.3"
    assert mixes[0].ratios == (0.334, 0.333, 0.333), "thousandths; even shares are not there twice"
    assert {mix.name: mix.ratios for mix in mixes}["0.2:0.25:0.55"] == (0.2, 0.25, 0.55)
    assert mixes[-1].name == "python alone"
    assert mixes[-1].ratios == (0, 0, 1)


def test_the_order_of_the_sources_does_not_matter():
    mixes = {mix.name: mix.ratios for mix in known_mixes(sources(python="code", prose="general", sums="math"))}
    assert mixes["0.1:0.8:0.1"] == (0.1, 0.1, 0.8)


def test_other_text_has_no_share_of_the_papers_mixes():
    mixes = known_mixes(sources(prose="general", notes=None, python="code"))
    assert [(mix.name, mix.origin) for mix in mixes] == [
        ("0.5:0:0.5", PAPER), ("even", EVEN), ("prose alone", SINGLE), ("notes alone", SINGLE), ("python alone", SINGLE)
    ]  # fmt: skip
    assert mixes[0].ratios == (0.5, 0, 0.5)


def test_two_sources_of_one_kind_have_no_mix_of_the_paper():
    assert PAPER not in {mix.origin for mix in known_mixes(sources(one="code", two="code", prose="general"))}


@pytest.mark.parametrize(
    ("origins", "places"),
    [
        ([PAPER, PAPER, EVEN, SINGLE, "found"], [0, 1]),
        ([PAPER, EVEN, SINGLE, "found"], [0, 1, 2]),
        ([EVEN, "found", SINGLE], [0, 2]),
        ([PAPER, "found"], []),
        ([], []),
    ],
)
def test_what_others_are_compared_with(origins, places):
    assert compared_with(origins) == places
