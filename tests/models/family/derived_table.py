"""The table of docs/families.md on types without an entry: what is derived of each, and which checks it passes.

Every row is made by building the type's tiny checkpoint, deriving its family and proving it; the other columns are from
the tests that run for it. To renew the table: python -m tests.models.family.derived_table
"""

import tempfile
from pathlib import Path

from ream.models.family.architecture import architecture_of
from ream.models.family.derived.proof import prove
from ream.models.family.family import Family
from ream.models.inspection.describe import layout_words
from ream.models.storage.checkpoint import Checkpoint
from tests.models.any_moe import REFUSED, TYPES, VARIANTS, build
from tests.models.family.derived.test_any_moe_merged import HEADLESS
from tests.models.family.family_table import PAGE

BEGIN = "<!-- derived: python -m tests.models.family.derived_table -->\n"
END = "<!-- end of what is derived -->\n"
COLUMNS = (
    "model_type", "experts on disk", "router", "unit", "layer", "derived", "proved", "pruned, merged, loaded again",
    "walked", "evaluated",
)  # fmt: skip


def router(family: Family) -> str:
    """How the router scores and selects experts, in words."""
    parts = [f"no known p(x), {family.scores} stands in" if family.guessed_scores else family.scores]
    if any(tensor.exact and tensor is not family.router[0] for tensor in family.router):
        parts.append("correction bias")
    if any(tensor.numbers for tensor in family.router):
        parts.append("tables by token id in some layers")
    if family.apart is not None:
        parts.append("beside its experts")
    if family.beyond is not None:
        parts.append("rows for the identity" if family.beyond.identity else "a row for skipping")
    if family.state:
        parts.append("a state from layer to layer")
    if family.router_groups_key:
        parts.append(f"groups by their best {family.router_group_best}")
    return ", ".join(parts) + (", recorded" if family.rule == "hooked" else "")


def row(model_type: str, folder: Path) -> str:
    """A type's row."""
    checkpoint = Checkpoint(build(model_type, folder / model_type))
    architecture = architecture_of(checkpoint)
    family = architecture.family
    prove(checkpoint, architecture)
    cells = [
        f"`{model_type}`",
        layout_words(architecture.layout).partition(" (")[0].rstrip(","),
        router(family),
        family.unit,
        "additive" if family.additive else "any",
        "yes",
        "yes",
        "yes",
        "yes",
        "no" if model_type in HEADLESS else "yes",
    ]
    return "| " + " | ".join(cells) + " |\n"


def counts() -> str:
    """How many types pass each check."""
    types = len(TYPES) - len(VARIANTS)
    evaluated = types - len(HEADLESS)
    return (
        f"{types} types without an entry are derived, proved, walked, pruned, merged and loaded again by "
        f"transformers; {evaluated} of them are evaluated. {len(REFUSED)} are refused.\n\n"
    )


def table() -> str:
    """The counts and the table in Markdown, then what is refused."""
    lines = [counts(), "| " + " | ".join(COLUMNS) + " |\n", "| " + " | ".join("---" for _ in COLUMNS) + " |\n"]
    with tempfile.TemporaryDirectory() as folder:
        lines += [row(model_type, Path(folder)) for model_type in TYPES]
    lines += ["\n| refused | the reason contains |\n| --- | --- |\n"]
    return "".join(lines + [f"| `{model_type}` | {reason} |\n" for model_type, reason in REFUSED.items()])


def page_with(content: str, text: str) -> str:
    """The page with its table replaced."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + content + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with(table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
