"""The report as one HTML file that needs no network and no other file; the same report gives the same bytes."""

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ream.analysis.figures.style import styles
from ream.analysis.html.answer import RULE, Answer
from ream.analysis.html.captions import title
from ream.analysis.html.downloads import data_address, identifier
from ream.analysis.html.drawings import Drawing
from ream.analysis.html.inline_svg import inline, tones
from ream.analysis.html.layers import LayerView, encoded
from ream.analysis.html.statements import Verdict
from ream.analysis.html.strips import strips_of
from ream.analysis.html.table_view import downloads, table_view
from ream.analysis.tables.table import Table

PACKAGE, TEMPLATES = "ream.analysis.html", "templates"
WIDE, HUGE = 520, 1400  # CSS pixels: drawings wider than the first fill a row, wider than the second scroll
SCRIPTS = ("theme.js", "tables.js", "pictures.js", "layers.js", "folds.js")
OPEN = ("overview", "held-out-loss")  # figures that are shown at once; the others are folded


@dataclass(frozen=True)
class Fact:
    """A fact about the run: its name, its values, and whether they are shown as code, as commands are."""

    name: str
    values: tuple[str, ...]
    code: bool = False


@dataclass(frozen=True)
class Link:
    """A file beside the page, by its path relative to the page's folder."""

    name: str
    path: str


@dataclass(frozen=True)
class RecipeLink:
    """A model's recipe, by its path relative to the page's folder."""

    mix: str
    method: str
    experts: int
    path: str


@dataclass(frozen=True)
class Report:
    """The content of the page; empty parts have no section.

    Attributes:
        title: title of the page.
        answer: what to take; None where nothing was compared.
        methods: all methods, in whose company each gets its colour.
        facts: what was run.
        notes: sentences about all numbers, above the verdict (`published_note`).
        verdicts: verdicts of `ream.analysis.html.verdict.verdicts`.
        drawings: figures in the order of the page; those of OPEN are shown at once.
        silent: figures that would say nothing, and why.
        tables: tables in the order of the page.
        layers: groups of the experts, a view per model.
        error_name: name of the layers' errors, with their unit.
        recipes: the models' recipes, beside the page.
        results: other files beside the page.
        costs: the page of measured costs beside this one, if there can be one.
    """

    title: str
    answer: Answer | None = None
    methods: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    silent: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    layers: tuple[LayerView, ...] = ()
    error_name: str = "relative error of the layer's output"
    recipes: tuple[RecipeLink, ...] = ()
    results: tuple[Link, ...] = ()
    costs: Link | None = None

    def __post_init__(self) -> None:
        """Check that names are unique.

        Raises:
            ValueError: two tables or drawings have the same name, or there are two views of one model.
        """
        names = [*(table.name for table in self.tables), *(drawing.name for drawing in self.drawings)]
        parts = [identifier(name) for name in names]
        views = [f"{view.method} on {view.mix} with {view.experts} experts" for view in self.layers]
        for labels in (parts, views):
            repeated = sorted(label for label, count in Counter(labels).items() if count > 1)
            if repeated:
                raise ValueError(f"the report has two of {', '.join(repeated)}")


def page(report: Report) -> str:
    """The whole page as HTML.

    Raises:
        ValueError: a path is not relative to the page.
    """
    environment = Environment(
        loader=PackageLoader(PACKAGE, TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["breakable"] = breakable
    folder = files(PACKAGE) / TEMPLATES
    style = tones() + (folder / "style.css").read_text(encoding="utf-8")
    head, *scripts = ((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    recipes = [(recipe, relative(recipe.path)) for recipe in report.recipes]
    return environment.get_template("page.html").render(
        report=report,
        policy=_policy(style, [head, *scripts]),
        style=Markup(style),
        head_script=Markup(head),
        scripts=[Markup(script) for script in scripts],
        strips_of=lambda statement: strips_of(statement, report.methods),
        rule=RULE,
        answer=None if report.answer is None else _answer(report.answer),
        silent=[(title(name), reason) for name, reason in report.silent],
        tables=[table_view(table) for table in report.tables],
        drawings=[_drawing(drawing) for drawing in report.drawings],
        costs=None if report.costs is None else relative(report.costs.path),
        recipes=recipes,
        results=[(link.name, relative(link.path)) for link in report.results],
        layers=_layers(report, {(one.mix, one.method, one.experts): address for one, address in recipes}),
    )


def relative(path: str) -> str:
    """A path as the address of a link.

    Raises:
        ValueError: the path is empty or absolute; links must hold when the page is moved with its folder.
    """
    if not path or path.startswith("/") or "\\" in path or ":" in path.split("/")[0]:
        raise ValueError(f"'{path}' is not a path relative to the page's folder")
    return quote(path)


def breakable(name: str) -> Markup:
    """A column's name as HTML that may break after underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _policy(style: str, scripts: list[str]) -> str:
    """The Content-Security-Policy: it allows this style, these scripts and embedded pictures, and no network."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    digests = " ".join(digest(script) for script in scripts)
    return (f"default-src 'none'; script-src {digests}; style-src {digest(style)}; img-src data:; "
            "base-uri 'none'; form-action 'none'")  # fmt: skip


def _drawing(drawing: Drawing) -> dict[str, Any]:
    """A figure in the form that the template reads."""
    width, _ = drawing.size
    headline, _, rest = drawing.caption.partition(". ")
    name = identifier(drawing.name)
    csv_address = next(address for form, _, address in downloads(drawing.data) if form == "CSV")
    label = f"{title(drawing.name)}: {headline.rstrip('.')}. {rest}"
    return {
        "id": name, "title": title(drawing.name), "headline": headline.rstrip("."), "rest": rest,
        "look": "wide huge" if width > HUGE else "wide" if width > WIDE else "",
        "svg": inline(drawing.svg, name, label), "open": drawing.name in OPEN,
        "png": None if drawing.png is None else data_address("png", drawing.png),
        "csv": csv_address,
    }  # fmt: skip


def _answer(answer: Answer) -> dict[str, Any]:
    """The answer in the form that the template reads."""
    return {"advice": answer.advice, "drawing": _drawing(answer.drawing), "table": table_view(answer.table)}


def _layers(report: Report, links: dict[tuple[str, str, int], str]) -> Markup | None:
    """The JSON of the views, in a form that cannot end its script element."""
    if not report.layers:
        return None
    methods = styles((view.method for view in report.layers), report.methods)
    colours = json.dumps({method: f"var(--tone-{style.tone})" for method, style in methods.items()})
    text = f'{{"error":{json.dumps(report.error_name)},"colours":{colours},{encoded(report.layers, links)[1:]}'
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
