"""Parts of reports for the tests of the page, and the page read with the standard library's parser."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from ream.analysis.html.answer import Advice, Answer
from ream.analysis.html.drawings import Drawing
from ream.analysis.html.layers import Layer, LayerView, Member
from ream.analysis.html.page import Fact, Link, RecipeLink, Report
from ream.analysis.html.verdict import verdicts
from ream.analysis.results.rows import Row, Score
from ream.analysis.tables.table import Column, Table
from ream.evaluation.scores import Cell, SourceLoss

MIXES = {"even": {"general": 0.5, "code": 0.5}, "coding": {"general": 0.2, "code": 0.8}}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="300pt" height="150pt"><rect width="9" height="9"/></svg>'
VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}


def row(method, gen, stderr=1.0, mc=None, experts=8, origin="ours", mix="even", model="m"):
    """A model whose two GEN tasks (and two MC tasks) all have the value and the standard error."""
    tasks = {name: Score(gen, stderr) for name in ("g1", "g2")} if gen is not None else {}
    mc_tasks = {name: Score(mc, stderr) for name in ("m1", "m2")} if mc is not None else {}
    avg = (gen + mc) / 2 if gen is not None and mc is not None else None
    ratios = {} if method == "original" else MIXES[mix]
    return Row(origin, model, method, experts, ratios, mc_tasks, tasks, mc=mc, gen=gen, avg=avg)


def cell(method, losses, stderr=0.1, experts=8, mix="even"):
    """A model with a loss on each source."""
    by_source = {name: SourceLoss(loss=loss, stderr=stderr, tokens=9, sequences=3) for name, loss in losses.items()}
    mean = sum(losses.values()) / len(losses)
    mix = None if method is None else mix
    return Cell(mix=mix, method=method, experts=experts, loss=by_source, mean_loss=mean, parameters=10)


def scores_table(name="table-1", model="m"):
    """A table with a missing number, a text column, the original and a published row."""
    lines = (
        (16, "original", None, "ours", 70.0),
        (8, "ream", "0.5:0.5", "ours", 9.5),
        (8, "reap", "0.2:0.8", "ours", 10.25),
        (8, "hc-smoe", "0.5:0.5", "paper", None),
        (8, "ean", "0.5:0.5", "ours", -3.0),
        (8, "m-smoe", "0.5:0.5", "ours", -20.0),
    )
    columns = (Column("experts"), Column("method"), Column("mix"), Column("results"), Column("gen_eral", 1))
    return Table(name, f"Scores of {model}", columns, lines, frozenset({(2, 4)}), (1,))


def view(mix, method, experts, layers=2, total=16, seed=0, merge=True, error=True, saliency=True):
    """A model whose dropped or absorbed experts are the last ones, absorbed by the first."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(layers):
        groups = {kept: (Member(kept, 1.0),) for kept in range(experts)}
        if merge:
            shares = rng.dirichlet(np.ones(total - experts + 1))
            members = (0, *range(experts, total))
            groups[0] = tuple(Member(expert, float(share)) for expert, share in zip(members, shares, strict=True))
        values = tuple(rng.random(total).tolist()) if saliency else None
        made.append(Layer(index, total, groups, values, float(rng.random()) if error else None))
    return LayerView(mix, method, experts, tuple(made))


def report(model="a model", title="What was run"):
    """A small report with all parts."""
    rows = [row("original", 70.0, mc=80.0, experts=16), row("ream", 60.0, mc=66.0), row("reap", 45.0, mc=65.0)]
    rows += [row("ream", 55.0, mc=70.0, mix="coding"), row("reap", 44.0, mc=71.0, mix="coding", origin="paper")]
    cells = [cell(None, {"general": 2.0}, experts=16), cell("ream", {"general": 3.0}), cell("reap", {"general": 4.0})]
    quality = Drawing("quality-against-size", "Quality. Of all.", SVG, b"\x89PNG", scores_table("quality"))
    return Report(
        title=title,
        answer=Answer(
            (
                Advice("Keep 8 of 16 experts.", "It cannot be told apart.", f"ream apply {model}"),
                Advice("At 4.", "", "ream apply 4"),
            ),
            quality,
            scores_table("candidates"),
        ),
        methods=("ream", "reap", "own"),
        facts=(Fact("Model", (model,)), Fact("Command", ("dvc repro",), code=True)),
        notes=("A note.",),
        verdicts=verdicts(rows, cells, MIXES),
        drawings=(Drawing("figure-2", "MC & GEN. More of it.", SVG, b"\x89PNG", scores_table("data")),),
        silent=(("figure-5", "the rank of all models is 8"),),
        tables=(scores_table(model=model), scores_table("table-cost")),
        layers=(
            view("even", "reap", 8, merge=False, error=False),
            view("even", "ream", 8, seed=1),
            view("even", "ream", 4, seed=2),
            view("coding", "ream", 8, seed=3, layers=3),
            view("coding", "hc-smoe", 8, seed=4, saliency=False),
        ),
        recipes=(RecipeLink("even", "ream", 8, "../artifacts/a b.safetensors"),),
        results=(Link("results", "results.csv"),),
        costs=Link("costs.html", "costs.html"),
    )


@dataclass
class Element:
    """An element of a page: its attributes, its own text and its children."""

    name: str
    attributes: dict = field(default_factory=dict)
    children: list = field(default_factory=list)
    own: str = ""

    def all(self, name, **attributes):
        """Descendants with a name and attributes; class_ is one of their classes."""
        matching = []
        for child in self.children:
            classes = (child.attributes.get("class") or "").split()
            matches = all(
                value in classes if key == "class_" else child.attributes.get(key) == value
                for key, value in attributes.items()
            )
            matching += [child] if child.name == name and matches else []
            matching += child.all(name, **attributes)
        return matching

    @property
    def text(self):
        """The text of the element and its descendants."""
        return self.own + "".join(child.text for child in self.children)


class Reader(HTMLParser):
    """Builds the tree; elements must close in order."""

    def __init__(self):
        super().__init__()
        self.root = Element("root")
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs), f"an attribute of <{tag}> stands twice"
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(Element("#text", own=data))


def read(text):
    """The tree of a page."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root
