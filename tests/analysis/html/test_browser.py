"""The page in a real browser: no errors and no requests, sorting, views, themes, widths."""

import shutil
from contextlib import contextmanager
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from ream.analysis.figures.style import TONES, styles
from ream.analysis.figures.trade_off import trade_off
from ream.analysis.html.drawings import drawing
from ream.analysis.html.page import page
from tests.analysis.html.html_parts import report, row, scores_table, view

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page(report()), encoding="utf-8")
    return path.as_uri()


@contextmanager
def opened(browser, address, unfolded=True, **options):
    """The opened page, unfolded; on exit, it must have caused neither an error nor a request beyond the file itself."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    shown = context.new_page()
    said, asked = [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(address)
    if options.get("java_script_enabled", True) and unfolded:
        shown.locator("#unfold").click()
    yield shown
    context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {address}


def column(shown, place, table="#table-1"):
    return shown.locator(f"{table} tbody tr td:nth-child({place})").all_text_contents()


def test_columns_sort_by_number_and_by_text_with_the_original_on_top(browser, address):
    with opened(browser, address) as shown:
        heads = shown.locator("#table-1 th")
        before = column(shown, 2)
        assert before == ["original", "ream", "reap", "hc-smoe", "ean", "m-smoe"]
        heads.nth(4).locator("button").click()
        assert heads.nth(4).get_attribute("aria-sort") == "descending"
        assert column(shown, 5) == ["70.0", "10.2", "9.5", "-3.0", "-20.0", "–"]  # as text, −20 would come before −3
        heads.nth(4).locator("button").click()
        assert heads.nth(4).get_attribute("aria-sort") == "ascending"
        assert column(shown, 5) == ["70.0", "-20.0", "-3.0", "9.5", "10.2", "–"]
        heads.nth(4).locator("button").click()
        assert heads.nth(4).get_attribute("aria-sort") is None
        assert column(shown, 2) == before
        heads.nth(4).locator("button").click()
        heads.nth(1).locator("button").focus()
        shown.keyboard.press("Enter")
        assert [heads.nth(place).get_attribute("aria-sort") for place in (1, 4)] == ["ascending", None]
        assert column(shown, 2) == ["original", "ean", "hc-smoe", "m-smoe", "ream", "reap"]
        heads.nth(2).locator("button").click()
        assert column(shown, 3) == ["–", "0.2:0.8", *["0.5:0.5"] * 4]
        assert column(shown, 2, "#table-cost") == before, "each table sorts alone"


def shown_number(value):
    return f"{float(f'{value:.4g}'):g}"


def options(shown, name):
    return shown.locator(f"#view-{name} option").all_text_contents()


def test_selects_change_the_views(browser, address):
    with opened(browser, address) as shown:
        summary, groups = shown.locator("#view-summary"), shown.locator("#groups")
        # the first model with a merge, not the first of all
        assert shown.locator("#view-method").input_value() == "ream"
        assert summary.text_content() == (
            "ream on even, 8 experts: of 32 experts in 2 layers, 14 are kept alone, 2 are kept with others merged "
            "into them, 16 are merged into another and 0 are dropped."
        )
        assert shown.locator("#view-recipe").get_attribute("href") == "../artifacts/a%20b.safetensors"
        assert groups.locator(".group p").all_text_contents() == ["Expert 0 with 8 merged into it"]
        members = view("even", "ream", 8, seed=1).layers[0].groups[0]
        order = [members[0], *sorted(members[1:], key=lambda member: -member.weight)]  # the centroid, then by weight
        assert groups.locator(".members li").all_text_contents() == [
            f"{member.expert} {shown_number(member.weight)}" for member in order
        ]
        shares = groups.locator(".share span").evaluate_all("spans => spans.map(one => one.offsetWidth)")
        assert [share / sum(shares) for share in shares] == pytest.approx([one.weight for one in order], abs=0.02)
        assert [options(shown, name) for name in ("mix", "method", "experts", "layer")] == [
            ["even", "coding"], ["reap", "ream"], ["8", "4"], ["0", "1"]
        ]  # fmt: skip
        first = groups.inner_html()
        shown.select_option("#view-layer", "1")
        assert shown.locator("#groups-title").text_content() == "Groups of layer 1"
        assert groups.inner_html() != first
        shown.select_option("#view-experts", "4")
        assert "4 experts: of 32 experts in 2 layers, 6 are kept alone" in summary.text_content()
        assert shown.locator("#view-recipe").is_hidden()
        assert shown.locator("#view-layer").input_value() == "1", "the layer stays"
        shown.select_option("#view-mix", "coding")
        assert options(shown, "layer") == ["0", "1", "2"]
        assert options(shown, "experts") == ["8"]
        assert shown.locator("#view-method").input_value() == "ream"
        assert shown.locator("#bars rect").count() == 16
        shown.select_option("#view-mix", "even")
        shown.select_option("#view-method", "reap")
        assert groups.text_content() == (
            "No experts were merged.Kept alone: 0, 1, 2, 3, 4, 5, 6, 7Dropped: 8, 9, 10, 11, 12, 13, 14, 15"
        )


def test_bars_stand_in_the_order_and_height_of_the_saliencies(browser, address):
    saliency = view("even", "ream", 8, seed=1).layers[0].saliency
    order = sorted(range(16), key=lambda expert: -saliency[expert])
    with opened(browser, address) as shown:
        titles = shown.locator("#bars rect title").all_text_contents()
        assert [int(title.split("expert ")[1].split(",")[0]) for title in titles] == order
        heights = [float(bar.get_attribute("height")) for bar in shown.locator("#bars rect").all()]
        expected = [190 * saliency[expert] / max(saliency) for expert in order]
        assert heights == pytest.approx(expected, rel=1e-3)


def test_what_is_not_known_is_said(browser, address):
    with opened(browser, address) as shown:
        shown.select_option("#view-mix", "coding")
        shown.select_option("#view-method", "hc-smoe")
        assert shown.locator("#bars").text_content() == "The saliency of this layer is not known."
        assert shown.locator("#map-colour").input_value() == "fate"
        assert shown.locator("#map-colour option[value=saliency]").is_disabled()


def test_the_error_of_every_layer_is_drawn_for_the_methods_that_have_one(browser, tmp_path):
    views = (view("even", "ream", 8, layers=3), view("even", "reap", 8, layers=3, seed=1, error=False),
             view("even", "ean", 8, layers=3, seed=2), view("coding", "ean", 8, error=False))  # fmt: skip
    path = tmp_path / "index.html"
    path.write_text(page(replace(report(), layers=views, error_name="relative error")), encoding="utf-8")
    with opened(browser, path.as_uri()) as shown:
        assert shown.locator("#error polyline").count() == 2
        assert sorted(shown.locator("#error .legend span").all_text_contents()) == ["ean", "ream"]
        assert "relative error" in shown.locator("#error").text_content()
        told = shown.locator("#error circle title").all_text_contents()
        expected = [
            f"{one.method}, layer {layer.index}: {shown_number(layer.error)}"
            for one in (views[2], views[0])
            for layer in one.layers
        ]
        assert told == expected
        shown.select_option("#view-mix", "coding")
        assert shown.locator("#error").text_content() == "Not known for this mix and number of experts."


def pixel(shown, x, y):
    """The colour of the map at a place in CSS pixels."""
    return shown.evaluate(
        "([x, y]) => { const c = document.getElementById('map'), s = devicePixelRatio;"
        " const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });"
        " pen.drawImage(c, -Math.round(x * s), -Math.round(y * s));"
        " return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3) }",
        [x, y],
    )


def test_the_map_tells_and_chooses(browser, address):
    saliency = view("even", "ream", 8, seed=1).layers[1].saliency
    with opened(browser, address) as shown:
        canvas = shown.locator("#map")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        wide, high = (box["width"] - 32) / 16, (box["height"] - 22) / 2

        def centre(layer, expert):
            return {"x": 30 + (expert + 0.5) * wide, "y": 4 + (layer + 0.5) * high}

        canvas.hover(position=centre(1, 12))
        readout = shown.locator("#map-readout")
        assert readout.text_content().startswith(f"Layer 1, expert 12, saliency {shown_number(saliency[12])}: merged")
        assert shown.locator("#view-layer").input_value() == "0"
        canvas.click(position=centre(1, 12))
        assert shown.locator("#view-layer").input_value() == "1"
        assert shown.locator("#groups-title").text_content() == "Groups of layer 1"
        # light: the more salient, the darker; at the most salient of the layer, the darkest
        greens = [pixel(shown, *centre(1, expert).values())[1] for expert in range(16)]
        assert sorted(range(16), key=greens.__getitem__) == sorted(range(16), key=lambda expert: -saliency[expert])
        shown.select_option("#map-order", "saliency")
        canvas.hover(position=centre(1, 0))
        assert f"expert {max(range(16), key=saliency.__getitem__)}," in readout.text_content()
        shown.select_option("#map-colour", "fate")
        shown.select_option("#map-order", "index")
        fates = [tuple(pixel(shown, *centre(1, expert).values())) for expert in range(16)]
        assert [fates.count(fate) for fate in dict.fromkeys(fates)] == [1, 7, 8]  # centre, alone, absorbed


def ground(shown):
    return shown.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_remembered(browser, address):
    with opened(browser, address, color_scheme="light") as shown:
        light = ground(shown)
        shown.emulate_media(color_scheme="dark")
        dark = ground(shown)
        assert sum(map(int, light[4:-1].split(", "))) > 600 > 100 > sum(map(int, dark[4:-1].split(", ")))
        button = shown.locator("#theme")
        assert button.text_content() == "Light"
        before = pixel(shown, 40, 10)
        button.click()
        assert ground(shown) == light
        assert button.text_content() == "Dark"
        assert pixel(shown, 40, 10) != before, "the map is drawn in the theme's colours"
        for _ in range(10):  # on a busy machine, a page that is loaded at once may not see what was stored just before
            shown.reload()
            if ground(shown) == light:
                break
            shown.wait_for_timeout(200)
        assert ground(shown) == light, "though the system is dark"
        assert button.text_content() == "Dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways(browser, address, width, scheme):
    with opened(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        shown.set_viewport_size({"width": 700, "height": 800})
        assert shown.evaluate("document.documentElement.scrollWidth") == 700, "drawings shrink with the window"


def test_what_is_wider_than_a_phone_scrolls_in_its_own_box(browser, address, tmp_path):
    path = tmp_path / "index.html"
    wide = view("even", "ream", 64, layers=48, total=128)
    path.write_text(page(replace(report(), layers=(wide,))), encoding="utf-8")
    with opened(browser, path.as_uri(), viewport={"width": 390, "height": 800}) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") == 390
        box = shown.locator(".scroll:has(#map)")
        inner, outer = box.evaluate("box => [box.scrollWidth, box.clientWidth]")
        assert inner > 800 > 390 > outer


def test_text_has_contrast(browser, address):
    """The contrast of text and its background is at least 4.5 to 1 (WCAG 2.1, AA), in both themes."""
    for scheme in ("light", "dark"):
        with opened(browser, address, color_scheme=scheme) as shown:
            poor = shown.evaluate(
                """() => {
                  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
                  const light = ([r, g, b]) => [0.2126 * r, 0.7152 * g, 0.0722 * b].reduce((sum, part, place) => {
                    const c = [r, g, b][place] / 255, weight = [0.2126, 0.7152, 0.0722][place];
                    return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                  }, 0);
                  const below = (element) => {
                    for (let at = element; at; at = at.parentElement) {
                      const background = channels(getComputedStyle(at).backgroundColor);
                      if (background.length === 3 || background[3] > 0) return background;
                    }
                    return [255, 255, 255];
                  };
                  const poor = [];
                  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                  while (walker.nextNode()) {
                    const element = walker.currentNode.parentElement;
                    const empty = !walker.currentNode.textContent.trim() || !element.checkVisibility();
                    if (empty || element.closest("svg, script, canvas")) continue;
                    const [a, b] = [light(channels(getComputedStyle(element).color)), light(below(element))];
                    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                    if (ratio < 4.5) poor.push([walker.currentNode.textContent.trim(), ratio]);
                  }
                  return poor;
                }"""
            )
            assert poor == []


def test_the_svg_comes_from_the_picture(browser, address):
    with opened(browser, address) as shown:
        link = shown.locator("#figure-2 a.svg")
        with shown.expect_download() as download:
            link.click()
        assert download.value.suggested_filename == "figure-2.svg"
        with open(download.value.path(), encoding="utf-8") as file:
            text = file.read()
        assert ElementTree.fromstring(text).attrib["width"] == "300pt"
        assert '<rect width="9" height="9"' in text


def test_a_link_unfolds_what_it_leads_to_and_the_button_everything(browser, address):
    with opened(browser, address, unfolded=False) as shown:
        assert not shown.locator("#table-1").is_visible()
        shown.locator("nav a[href='#table-1']").click()
        assert shown.locator("#table-1").is_visible()
        assert not shown.locator("#table-cost").is_visible()
        shown.locator("nav a[href='#layers']").click()
        assert shown.locator("#map").bounding_box()["width"] > 200, "drawn once it has a width"
        button = shown.locator("#unfold")
        button.click()
        assert (button.text_content(), shown.locator("#table-cost").is_visible()) == ("Fold all", True)
        button.click()
        assert not shown.locator("#table-1").is_visible()


def test_the_first_screen_answers(browser, address):
    with opened(browser, address, unfolded=False) as shown:
        for part in (".answer .lead >> nth=0", "#quality-against-size svg", "#candidates", ".answer pre >> nth=0"):
            assert shown.locator(part).bounding_box()["y"] < 900, part
        assert shown.evaluate("document.documentElement.scrollHeight") < 8 * 900


def test_pictures_follow_the_theme(browser, tmp_path):
    rows = [row("ream", 60.0, mc=50.0), row("reap", 50.0, mc=60.0)]
    path = tmp_path / "index.html"
    path.write_text(
        page(replace(report(), drawings=(drawing("figure-2", trade_off(rows, 8), "A. B.", scores_table()),)))
    )
    tone = styles(["ream"])["ream"].tone
    for scheme, place in (("light", 0), ("dark", 1)):
        with opened(browser, path.as_uri(), color_scheme=scheme) as shown:
            found = shown.locator(f"#figure-2 .f{tone}").first.evaluate("one => getComputedStyle(one).fill")
            wanted = [int(TONES[tone][place][at : at + 2], 16) for at in (1, 3, 5)]
            assert found == f"rgb({', '.join(map(str, wanted))})"
            texts = shown.locator("#figure-2 text").first.evaluate("one => getComputedStyle(one).fill")
            assert texts == shown.evaluate("getComputedStyle(document.body).color")


def test_without_scripts_everything_but_the_views_is_there(browser, address):
    with opened(browser, address, java_script_enabled=False) as shown:
        assert column(shown, 2) == ["original", "ream", "reap", "hc-smoe", "ean", "m-smoe"]
        shown.locator("#layers summary").click()  # needs no script
        assert shown.locator("noscript").is_visible()
        assert shown.locator("#views").is_hidden()
        assert shown.locator("#theme").is_hidden()
