"""The page, parsed: what it shows, that nothing escapes, that it needs nothing else."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ream.analysis.figures.style import TONES, styles
from ream.analysis.figures.trade_off import trade_off
from ream.analysis.html.captions import CAPTIONS, SAME, caption, title
from ream.analysis.html.drawings import Drawing, drawing
from ream.analysis.html.layers import LayerView, Member
from ream.analysis.html.page import Link, Report, page, relative
from ream.analysis.tables.formats import RENDERERS
from ream.analysis.tables.table import Column, Table
from tests.analysis.html.html_parts import SVG, read, report, row, scores_table, view

ROOT = Path(__file__).parents[3]
HOSTILE = '<script>alert("1")</script>&amp;"\'</style>'


@pytest.fixture(scope="module")
def text():
    return page(report())


@pytest.fixture(scope="module")
def tree(text):
    return read(text)


def decoded(address):
    head, _, body = address.partition(";base64,")
    assert head.startswith("data:")
    return base64.b64decode(body, validate=True)


def test_all_parts_are_there_and_in_the_contents(tree):
    (nav,) = tree.all("nav")
    (main,) = tree.all("main")
    (answer,) = main.all("div", class_="answer")
    first = {element.attributes["id"] for name in ("figure", "article") for element in answer.all(name)}
    assert first == {"quality-against-size", "candidates"}, "the answer is at the top of the page"
    ids = [element.attributes["id"] for name in ("section", "figure", "article", "header")
           for element in main.all(name) if "id" in element.attributes]  # fmt: skip
    ids = [name for name in ids if name not in first]
    links = [link.attributes["href"] for link in nav.all("a")]
    assert sorted(f"#{name}" for name in ids) == sorted(links)
    assert {"#verdict", "#figures", "#figure-2", "#tables", "#table-1", "#layers", "#facts", "#files"} < set(links)
    assert len(ids) == len(set(ids))
    assert [heading.text for heading in tree.all("h1")] == ["What was run"]
    facts = {fact.all("dt")[0].text: [value.text for value in fact.all("dd")] for fact in main.all("dl")[0].all("div")}
    assert facts == {"Model": ["a model"], "Command": ["dvc repro"]}
    assert [code.text for code in main.all("dl")[0].all("code")] == ["dvc repro"]


def test_the_answer_comes_first_and_all_but_the_overviews_is_folded(tree):
    (main,) = tree.all("main")
    (answer,) = main.all("header")[0].all("div", class_="answer")
    assert [lead.text for lead in answer.all("p", class_="lead")] == [
        "Keep 8 of 16 experts. It cannot be told apart.", "At 4."
    ]  # fmt: skip
    assert [command.text for command in answer.all("pre")] == ["ream apply a model", "ream apply 4"]
    assert len(answer.all("article", id="candidates")[0].all("tbody")[0].all("tr")) == 6
    folded = {element.attributes.get("id") for fold in main.all("details") for name in ("figure", "article", "dl")
              for element in fold.all(name)}  # fmt: skip
    assert {"figure-2", "table-1", "table-cost"} <= folded
    assert all("open" not in fold.attributes for fold in main.all("details", class_="fold"))
    (section,) = main.all("section", id="figures")
    assert "Figure 5 is left out, because it would say nothing: the rank of all models is 8." in section.text
    (cost,) = [fold for fold in main.all("details") if fold.all("article", id="table-cost")]
    assert "costs.html" in [link.attributes["href"] for link in cost.all("a")]


def test_overviews_are_not_folded():
    shown = Drawing("overview", "Scores. All.", SVG, None, scores_table("data"))
    tree = read(page(replace(report(), drawings=(*report().drawings, shown))))
    (section,) = tree.all("section", id="figures")
    inside = [figure.attributes["id"] for fold in section.all("details") for figure in fold.all("figure")]
    assert inside == ["figure-2"]
    assert [figure.attributes["id"] for figure in section.all("figure")] == ["overview", "figure-2"]


def test_a_method_has_one_tone_everywhere_on_the_page(tree):
    tones = {method: style.tone for method, style in styles(["ream", "reap", "own"]).items()}
    for entry in tree.all("section", id="verdict")[0].all("li"):
        if entry.all("circle"):
            assert entry.all("circle")[0].attributes["class"] == f"f{tones[entry.all('b')[0].text]}"
    data = json.loads(tree.all("script", type="application/json")[0].text)
    assert data["colours"]["ream"] == f"var(--tone-{tones['ream']})"
    assert data["colours"].keys() == {"ream", "reap", "hc-smoe"}
    style = tree.all("style")[0].text
    for place, (light, dark) in enumerate(TONES):
        assert f"--tone-{place}:light-dark({light},{dark});" in style


def test_every_id_is_there_once(tree):
    ids = [element.attributes["id"] for name in ("a", "article", "button", "canvas", "div", "figure", "h3", "header",
                                                 "main", "p", "script", "section", "select")
           for element in tree.all(name) if "id" in element.attributes]  # fmt: skip
    assert len(ids) == len(set(ids)) > 20
    labels = [element.attributes["aria-labelledby"] for name in ("div", "table", "canvas") for element in tree.all(name)
              if "aria-labelledby" in element.attributes]  # fmt: skip
    assert {name for label in labels for name in label.split()} <= set(ids)


def test_empty_parts_have_no_section():
    tree = read(page(Report(title="Nothing yet")))
    assert tree.all("section") == []
    assert [link.attributes["href"] for link in tree.all("nav")[0].all("a")] == ["#top"]
    assert tree.all("script", type="application/json") == []


def test_verdicts_are_told_with_their_numbers(tree):
    (section,) = tree.all("section", id="verdict")
    ours, published = section.all("div", class_="verdict")
    assert "published" not in ours.attributes["class"]
    assert "published" in published.attributes["class"]
    (gen,) = [card for card in ours.all("article") if card.all("h4")[0].text == "GEN"]
    assert gen.all("p")[0].text.startswith("ream on even (0.5:0.5) has the highest GEN: 60.0 (95% interval")
    assert gen.all("span", class_="standing")[0].text == "beyond noise"
    values = [(entry.all("b")[0].text, entry.all("span", class_="value")[0].text) for entry in gen.all("li")]
    assert values == [("ream", "60.0"), ("reap", "45.0")]
    for circle in gen.all("circle"):
        assert 0 < float(circle.attributes["cx"].rstrip("%")) < 100


def test_tables_show_sort_and_download_their_values(tree):
    (article,) = tree.all("article", id="table-1")
    table = scores_table(model="a model")
    rows = article.all("tbody")[0].all("tr")
    shown = [[cell.text for cell in line.all("td")] for line in rows]
    assert shown == [[table.shown(line, column) for column in range(5)] for line in range(6)]
    assert [head.text for head in article.all("th")] == ["experts", "method", "mix", "results", "gen_eral"]
    assert all(len(head.all("button")) == 1 for head in article.all("th"))
    values = [[cell.attributes.get("data-value") for cell in line.all("td")] for line in rows]
    assert [line[4] for line in values] == ["70.0", "9.5", "10.25", "", "-3.0", "-20.0"]
    assert [line[1] for line in values] == [None] * 6
    assert values[0][2] == "", "what is not known comes last, in a column of text, too"
    assert [line.attributes.get("class") for line in rows] == ["original", "rule", None, "published", None, None]
    assert [cell.text for cell in article.all("b")] == ["10.2"]
    assert [tag.text for tag in article.all("span", class_="tag")] == ["paper"]
    files = {link.attributes["download"]: decoded(link.attributes["href"]).decode() for link in article.all("a")}
    assert files == {f"table-1.{suffix}": render(table) for suffix, render in RENDERERS.items()}


def test_figures_are_pictures_with_their_files(tree):
    (figure,) = tree.all("figure", id="figure-2")
    (picture,) = figure.all("svg")
    assert (picture.attributes["width"], picture.attributes["height"]) == ("300pt", "150pt")
    assert picture.attributes["aria-label"] == "Figure 2: MC & GEN. More of it."
    assert [(rect.attributes["width"], rect.attributes["height"]) for rect in picture.all("rect")] == [("9", "9")]
    links = {link.attributes["download"]: link.attributes.get("href") for link in figure.all("a")}
    assert links["figure-2.svg"] is None, "the script takes it from the picture"
    assert decoded(links["figure-2.png"]) == b"\x89PNG"
    lines = list(csv.reader(io.StringIO(decoded(links["figure-2-data.csv"]).decode())))
    assert lines[2] == ["8", "ream", "0.5:0.5", "ours", "9.5"]


def test_a_drawing_without_png_offers_none():
    tree = read(page(replace(report(), drawings=(Drawing("figure-2", "One.", SVG, None, scores_table("data")),))))
    names = [link.attributes["download"] for link in tree.all("figure", id="figure-2")[0].all("a")]
    assert names == ["figure-2.svg", "figure-2-data.csv"]


def test_recipes_and_results_are_linked_relative_to_the_page(tree):
    (section,) = tree.all("section", id="files")
    assert [link.attributes["href"] for link in section.all("a")] == ["results.csv", "../artifacts/a%20b.safetensors"]
    data = json.loads(tree.all("script", type="application/json")[0].text)
    links = {(view["mix"], view["method"], view["experts"]): view["link"] for view in data["views"]}
    assert links.pop(("even", "ream", 8)) == "../artifacts/a%20b.safetensors"
    assert set(links.values()) == {None}


def test_names_cannot_become_markup():
    wild = report(model=HOSTILE, title=HOSTILE)
    wild = replace(
        wild,
        notes=(HOSTILE,),
        layers=(LayerView(HOSTILE, HOSTILE, 8, view("even", "ream", 8).layers),),
        recipes=(replace(wild.recipes[0], mix=HOSTILE, method=HOSTILE, path=f"a/{HOSTILE}"),),
        results=(Link(HOSTILE, f"b/{HOSTILE}"),),
        error_name=HOSTILE,
        drawings=(replace(wild.drawings[0], caption=HOSTILE),),
    )
    text = page(wild)
    calm = read(page(report()))
    tree = read(text)  # reads scripts as browsers do
    assert len(tree.all("script")) == len(calm.all("script"))
    assert len(tree.all("style")) == 1
    assert tree.all("h1")[0].text == HOSTILE
    assert tree.all("dd")[0].text == HOSTILE
    (table,) = tree.all("article", id="table-1")
    assert table.all("p", class_="caption")[0].text == f"Scores of {HOSTILE}"
    assert json.loads(tree.all("script", type="application/json")[0].text)["views"][0]["mix"] == HOSTILE
    assert "alert(" not in "".join(script.text for script in tree.all("script") if "type" not in script.attributes)
    assert not re.search(r"<script>\s*alert", text)


def test_nothing_is_fetched(text, tree):
    everything = [tree]
    while everything:
        element = everything.pop()
        everything += element.children
        for name in ("src", "href", "action", "poster", "srcset", "data", "xlink:href"):
            address = element.attributes.get(name, "#")
            assert address.startswith(("#", "data:", "../artifacts/", "results.csv", "costs.html")), address
        assert element.name not in {"iframe", "object", "embed", "base"}
    style = tree.all("style")[0].text
    assert "@import" not in style
    assert "url(" not in style
    for script in tree.all("script"):
        assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon|https?://(?!www\.w3\.org/2000/svg)",
                             script.text)  # fmt: skip
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_the_policy_allows_this_pages_own_style_and_scripts_alone(tree):
    (policy,) = [meta.attributes["content"] for meta in tree.all("meta")
                 if meta.attributes.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"

    def digests(elements):
        return {f"'sha256-{base64.b64encode(hashlib.sha256(one.text.encode()).digest()).decode()}'" for one in elements}

    scripts = [script for script in tree.all("script") if "type" not in script.attributes]
    assert set(rules["script-src"].split()) == digests(scripts)
    assert set(rules["style-src"].split()) == digests(tree.all("style"))
    everything = [tree]
    while everything:
        element = everything.pop()
        everything += element.children
        assert not [name for name in element.attributes if name == "style" or name.startswith("on")], element


def test_the_same_report_gives_the_same_bytes(text):
    assert page(report()) == text
    rows = [row("ream", 60.0, mc=50.0), row("reap", 50.0, mc=60.0)]
    one, other = (drawing("figure-2", trade_off(rows, 8), "A. B.", scores_table()) for _ in range(2))
    assert one == other
    assert one.png.startswith(b"\x89PNG")
    assert "<dc:date>" not in one.svg
    width, height = one.size
    assert width == pytest.approx(4.2 * 96, abs=1)
    assert height > 300
    alone = replace(report(), drawings=(one,))
    assert page(alone) == page(replace(alone, drawings=(other,)))


def test_the_bytes_do_not_depend_on_the_order_of_sets(text):
    """The order of a set of strings differs between processes."""
    code = (
        "import hashlib; from ream.analysis.html.page import page; from tests.analysis.html.html_parts import report;"
        "print(hashlib.sha256(page(report()).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
                            check=True)  # fmt: skip
    assert answer.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def shuffled(layer, rng):
    """The layer with its absorbed experts spread at random over the kept ones, which are random, too."""
    kept = rng.permutation(layer.experts)[: len(layer.groups)]
    owners = rng.choice(kept, layer.experts)
    owners[kept] = kept
    weights = rng.random(layer.experts)
    groups = {
        int(owner): tuple(Member(int(expert), float(weights[expert])) for expert in np.flatnonzero(owners == owner))
        for owner in kept
    }
    return replace(layer, groups=groups)


@pytest.mark.slow
def test_a_grid_of_48_layers_128_experts_and_40_recipes_stays_below_5_mb(rng):
    """No two lists are alike, as in no real grid: the worst case."""
    views = [view(f"mix-{seed}", "ream", 64, layers=48, total=128, seed=seed) for seed in range(40)]
    views = tuple(replace(one, layers=tuple(shuffled(layer, rng) for layer in one.layers)) for one in views)
    text = page(Report(title="Big", layers=views))
    (data,) = read(text).all("script", type="application/json")
    assert len(json.loads(data.text)["lists"]) == 40 * 48 * 3  # groups, weights and saliency of every layer
    assert 3e6 < len(text.encode()) < 5e6


def test_two_parts_of_the_same_name_are_refused():
    with pytest.raises(ValueError, match="two of table-1"):
        replace(report(), tables=(scores_table(), scores_table()))
    with pytest.raises(ValueError, match="two of table-1"):  # the names of their places in the page
        replace(report(), tables=(scores_table(), scores_table("table 1")))
    with pytest.raises(ValueError, match="two of ream on even with 8 experts"):
        replace(report(), layers=(view("even", "ream", 8), view("even", "ream", 8)))
    with pytest.raises(ValueError, match="width and height in points"):
        page(replace(report(), drawings=(Drawing("figure-2", "One.", "<svg/>", None, scores_table("data")),)))


@pytest.mark.parametrize("path", ["", "/etc/passwd", "//host/a", "javascript:alert(1)", "https://host/a", "C:\\a"])
def test_only_paths_relative_to_the_page_are_linked(path):
    with pytest.raises(ValueError, match="not a path relative"):
        relative(path)


def test_paths_are_quoted():
    assert relative("../a b/c#d?e.json") == "../a%20b/c%23d%3Fe.json"


def test_every_figure_of_the_paper_has_a_caption_with_a_title():
    names = ("figure-1a", "figure-2", "figure-3a", "figure-3b", "figure-4a", "figure-5", "figure-5-effective",
             "figure-6", "figure-7a", "figure-7b", "held-out-loss", "overview", "quality-against-size")  # fmt: skip
    assert set(names) == {*CAPTIONS, *SAME}
    for name in names:
        assert re.match(r"[A-Z][^.]+\. [A-Z].*\.$", caption(name)), name
    assert caption("figure-5-effective-16") == CAPTIONS["figure-5-effective"]
    assert caption("figure-3b-16") == caption("figure-7b") == CAPTIONS["figure-3b"]
    with pytest.raises(ValueError, match="no caption for 'figure-9'"):
        caption("figure-9")
    shown = {
        "figure-3a": "Figure 3a", "figure-2-8": "Figure 2, 8 experts", "table-5": "Table 5", "overview": "Overview",
        "table-correlations-24": "Correlations, 24 experts", "table-group-sizes": "Group sizes",
    }  # fmt: skip
    assert {name: title(name) for name in shown} == shown


def test_wide_tables_show_their_means_before_the_tasks():
    tasks = [f"task{number}" for number in range(10)]
    columns = tuple(Column(name, None if name == "method" else 1) for name in ("method", *tasks, "MC", "GEN"))
    values = ("ream", *(float(number) for number in range(10)), 50.0, 60.0)
    table = Table("table-1", "One.", columns, (values,), frozenset({(0, 12)}), intervals={(0, 11): (49.0, 52.0)})
    (article,) = read(page(replace(report(), tables=(table,)))).all("article", id="table-1")
    assert [head.text for head in article.all("th")] == ["method", "MC", "GEN", *tasks]
    cells = article.all("td")
    assert [cell.text for cell in cells[:4]] == ["ream", "50.0 ± 2.0", "60.0", "0.0"]
    assert [cell.attributes.get("data-value") for cell in cells[:4]] == [None, "50.0", "60.0", "0.0"]
    assert [cell.text for cell in article.all("b")] == ["60.0"]
    (address,) = [link.attributes["href"] for link in article.all("a") if link.text == "CSV"]
    assert decoded(address).decode().splitlines()[0] == f"method,{','.join(tasks)},MC,MC low,MC high,GEN"
