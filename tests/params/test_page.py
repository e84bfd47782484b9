"""docs/params.md is made of the settings, is current, and says something about each."""

import re

from ream.params import Params
from ream.params.page import page
from ream.params.section import Section
from tests.tiny import ROOT


def fields(model=Params, prefix=""):
    """Dotted name of every setting, and its field."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        for inner in classes(field.annotation):
            yield from fields(inner, f"{prefix}{name}.")


def classes(annotation):
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    return [found for part in getattr(annotation, "__args__", ()) for found in classes(part)]


def test_the_page_is_current():
    text = (ROOT / "docs" / "params.md").read_text(encoding="utf-8")
    assert text == page(), "run: ream params page > docs/params.md"


def test_the_page_has_every_setting_and_says_what_it_means():
    text = page()
    named = {re.sub(r"\.NAME\b", "", name) for name in re.findall(r"^\| `([\w.]+)`", text, re.MULTILINE)}
    assert {name for name, _ in fields() if "." in name} == named
    assert set(Params.model_fields) == set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) - {"A"}
    assert "|  |\n" not in text, "a setting without a description"


def test_types_ranges_and_defaults():
    text = page()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, re.MULTILINE))
    assert rows["calibration.fill"].startswith("number, > 0, ≤ 1 | `0.9` | ")
    assert rows["compute.threads"].startswith("`auto` or whole number, ≥ 1 | `auto` | ")
    assert rows["run.experts"].startswith("list of whole number, ≥ 1, at least 1 | required | ")
    assert rows["merge.shard_gb"].startswith("number or null, > 0 | null | ")
