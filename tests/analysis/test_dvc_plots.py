"""`dvc plots show`: three plots with their data, and the page in a real browser."""

import json
import re
import shutil
import subprocess
import tarfile
from collections import Counter

import pytest
import yaml

from tests.graphs import ROOT, dvc
from tests.views import METHODS, SIZES, build_views

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TITLES = ["MC and GEN of all models", "Held-out loss by method and size", "Recovery by method and size"]
MODELS = len(yaml.safe_load((ROOT / "params.yaml").read_text())["mixes"]) * len(METHODS)  # of each size
SCRIPT = re.compile(r"https://cdn\.jsdelivr\.net/npm/([\w-]+)@([\d.]+)")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The page that `dvc plots show` writes."""
    folder = build_views(tmp_path_factory.mktemp("views") / "graph")
    dvc(folder, "plots", "show")
    return folder / "dvc_plots" / "index.html"


@pytest.fixture(scope="module")
def plots(html):
    """Title to Vega's specification, as embedded in the page."""
    specs = [json.loads(text) for text in re.findall(r"var spec = (\{.*\});", html.read_text())]
    return {spec["title"]: spec for spec in specs}


@pytest.mark.slow
def test_the_plots_and_what_they_show(plots):
    assert list(plots) == TITLES
    fields = [[plot["spec"]["encoding"][axis]["field"] for axis in ("x", "y", "color")] for plot in plots.values()]
    assert fields == [["MC", "GEN", "method"], ["loss", "method", "experts"], ["recovery", "method", "experts"]]
    for plot in plots.values():
        rows = plot["data"]["values"]
        assert rows[0]["method"] == "original"
        assert Counter(row["experts"] for row in rows) == {"32": 1, **{str(experts): MODELS for experts in SIZES}}
        assert {row["rev"] for row in rows} == {"workspace"}
        assert "<DVC" not in json.dumps(plot), "all anchors of the template are filled"


@pytest.fixture(scope="module")
def vega(html):
    """Address to script: the versions of Vega that the page takes from a CDN, here from the npm registry."""
    folder = ROOT / ".cache" / "vega"
    folder.mkdir(parents=True, exist_ok=True)
    scripts = {}
    for address in SCRIPT.finditer(html.read_text()):
        name, version = address.groups()
        archive = folder / f"{name}-{version}.tgz"
        if not archive.exists():
            command = ["npm", "pack", f"{name}@{version}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
            if done.returncode != 0:
                pytest.skip(f"npm cannot fetch {name}: {done.stderr.strip().splitlines()[-1]}")
        with tarfile.open(archive) as package:
            scripts[address[0]] = package.extractfile(f"package/build/{name}.min.js").read()
    return scripts


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: apt-get install npm")
def test_a_browser_draws_the_plots(html, vega):
    from playwright.sync_api import sync_playwright

    assert len(vega) == 3
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown, said = browser.new_page(), []
        shown.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.route(
            re.compile("^https:"),
            lambda route: route.fulfill(body=vega[route.request.url], content_type="text/javascript"),
        )
        shown.goto(html.as_uri())
        drawn = shown.locator("svg.marks")
        drawn.nth(2).wait_for()
        for place, (title, axis) in enumerate(
            zip(TITLES, ("MC in percent", "loss in nats per token", "percentage of"), strict=True)
        ):
            plot = drawn.nth(place)
            words = plot.locator("text").all_text_contents()
            assert title in words
            assert any(word.startswith(axis) for word in words)
            assert {"original", *METHODS, "32", *map(str, SIZES)} <= set(words)
            points = plot.locator("path[aria-roledescription=point]")
            assert points.count() == 1 + len(SIZES) * MODELS, "each model is a point"
            assert len({point.get_attribute("transform") for point in points.all()}) > MODELS, "and they lie apart"
        shown.screenshot(path=str(html.parent / "page.png"), full_page=True)
        browser.close()
    assert said == []
