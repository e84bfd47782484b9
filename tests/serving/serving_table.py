"""The table of docs/serving.md, from the results that tests/serving/test_clients.py holds.

To renew the table: python -m tests.serving.serving_table
"""

from tests.models.families import TINY
from tests.serving.checkpoints import CASES, kept
from tests.serving.results import AGREES, DIFFERS, NOT_RUN, RESULTS, VERSIONS, Result
from tests.tiny import ROOT

PAGE = ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- table: python -m tests.serving.serving_table -->\n", "<!-- end of the table -->\n"


def cell(result: Result) -> str:
    """A client's result in words."""
    differences = f"{result.original:.1g} and {result.compressed:.1g}"
    if result.kind == AGREES:
        return f"agrees: {differences}"
    if result.kind == DIFFERS:
        return f"both differ: {differences} ({result.why})"
    return f"not run here: {result.why}" if result.kind == NOT_RUN else f"neither loads: {result.why}"


def table() -> str:
    """The table in Markdown; one row for each case."""
    header = ["model_type", "experts of original and compressed", *(VERSIONS[client] for client in RESULTS)]
    rows = [header, ["---"] * len(header)]
    for case, (family, _) in CASES.items():
        counts = f"{TINY[family].experts}, {kept(case)}"
        name = case.replace(family, f"`{family}`")
        rows.append([name, counts, *(cell(results[case]) for results in RESULTS.values())])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page_with(content: str, text: str) -> str:
    """The page with its table replaced."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + content + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with(table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
