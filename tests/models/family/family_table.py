"""The table of docs/families.md, from the entries and from the tests that run for each of them.

To renew the table: python -m tests.models.family.family_table
"""

from pathlib import Path

from ream.models.family.families import FAMILIES
from ream.models.family.family import Family
from ream.models.family.layout import INTERLEAVED, NUMBERED, PER_EXPERT, STACKED, TRANSPOSED
from tests.models.families import LAYERS, TINY

PAGE = Path(__file__).parents[3] / "docs" / "families.md"
BEGIN, END = "<!-- table: python -m tests.models.family.family_table -->\n", "<!-- end of the table -->\n"
LAYOUTS = {
    PER_EXPERT: "one tensor for each expert and projection",
    NUMBERED: "w1, w2, w3 of each expert",
    STACKED: "stacked",
    TRANSPOSED: "stacked, transposed",
    INTERLEAVED: "stacked, transposed, alternating gate and up rows, biases",
}


def router(family: Family) -> str:
    """How the router decides, in words."""
    parts = [family.scores]
    if any("correction_bias" in tensor.name for tensor in family.router):
        parts.append("correction bias")
    elif any(tensor.name.endswith(".bias") for tensor in family.router):
        parts.append("bias")
    if family.router_groups_key:
        parts.append("groups")
    if family.scales_inputs:
        parts.append("scales the inputs of experts")
    return ", ".join(parts)


def row(family: Family, quantised: set[str]) -> str:
    """A family's row.

    Args:
        family: an entry.
        quantised: names of the test cases of quantised checkpoints, such as fp8-deepseek_v3.
    """
    tiny = TINY[family.model_type]
    tested = f"{len(tiny.moe_layers)} of {LAYERS} layers, {tiny.experts} experts, top {tiny.top_k}"
    tested += f", {tiny.groups} router groups" if tiny.groups > 1 else ""
    tested += f", {tiny.multi_token} MTP layer" if tiny.multi_token else ""
    tested += ", with vision" if tiny.vision else ""
    formats = sorted(name.partition("-")[0] for name in quantised if name.endswith(f"-{family.model_type}"))
    cells = [
        f"`{family.model_type}`",
        ", ".join(family.examples),
        " or ".join(LAYOUTS[layout] for layout in family.layouts),
        router(family),
        "yes" if family.shared else "no",
        "yes" if family.multi_token else "no",
        f"`{family.text}`" if family.text else "",
        tested + (f"; {', '.join(formats)}" if formats else ""),
    ]
    return "| " + " | ".join(cells) + " |\n"


def table() -> str:
    """The table in Markdown."""
    from tests.recipe.test_quantised import CASES

    names = ["model_type", "models", "experts on disk", "router", "shared experts", "MTP", "text model under"]
    header = [*names, "tested on a random model of"]
    lines = ["| " + " | ".join(header) + " |\n", "| " + " | ".join("---" for _ in header) + " |\n"]
    return "".join(lines + [row(family, set(CASES)) for family in FAMILIES.values()])


def page_with(content: str, text: str) -> str:
    """The page with its table replaced."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + content + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with(table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
