"""Pictures as part of the page."""

from xml.etree import ElementTree

from ream.analysis.figures.style import COLOURS, TONES
from ream.analysis.html.inline_svg import SVG, inline, tones

PICTURE = f"""<?xml version="1.0"?>
<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink" width="300pt" height="150pt">
 <metadata>when and by whom</metadata>
 <defs><style>* {{fill: red}}</style><path id="m1" d="M 0 0
L 1 1" style="stroke: #000000"/><clipPath id="p1"><rect width="9"/></clipPath></defs>
 <g id="figure_1"><use xlink:href="#m1" style="fill: {COLOURS[3]}; stroke: {COLOURS[4]}; stroke-opacity: 0.5"/>
 <path clip-path="url(#p1)" style="fill: none; stroke: #b0b0b0" d="M 0 0"/>
 <path style="fill: #ffffff" d="M 0 0"/>
 <text style="font-size: 10px; font-family: DejaVu, serif; text-anchor: middle">a &lt;b&gt; &amp; c</text></g>
</svg>"""


def of(picture):
    return ElementTree.fromstring(inline(picture, "figure-2", 'it\'s "<all>"'))


def test_styles_become_attributes_and_classes_that_the_theme_overrides():
    root = of(PICTURE)
    mark, line, ground = root.find(f".//{{{SVG}}}use"), *root.findall(f"{{{SVG}}}g/{{{SVG}}}path")
    assert mark.attrib == {
        "fill": COLOURS[3], "stroke": COLOURS[4], "stroke-opacity": "0.5", "class": "f3 s4", "href": "#figure-2-m1"
    }  # fmt: skip
    assert line.attrib == {"fill": "none", "stroke": "#b0b0b0", "d": "M 0 0", "clip-path": "url(#figure-2-p1)"}
    assert ground.attrib["class"] == "fg"
    (text,) = root.iter(f"{{{SVG}}}text")
    assert text.attrib == {"font-size": "10px", "text-anchor": "middle"}
    assert text.text == "a <b> & c"
    assert not any("style" in element.attrib for element in root.iter())


def test_ids_are_those_of_one_picture_and_unused_ones_are_left_out():
    root = of(PICTURE)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert ids == ["figure-2-m1", "figure-2-p1"]
    (path, *_) = root.iter(f"{{{SVG}}}path")
    assert (path.attrib["d"], path.attrib["stroke"]) == ("M 0 0 L 1 1", "currentColor")


def test_what_the_page_does_not_allow_is_left_out():
    text = str(inline(PICTURE, "x", "y"))
    assert "<style" not in text
    assert "metadata" not in text
    assert "xlink" not in text
    assert of(PICTURE).attrib["aria-label"] == 'it\'s "<all>"'


def test_embedded_pictures_keep_their_bytes():
    """The colour bars of a triangle of mixes; their references were taken for ids, and the browser showed nothing."""
    image = '<image xlink:href="data:image/png;base64,\niVBORw0K\nGgo=" id="image1" width="9"/></svg>'
    (element,) = of(PICTURE.replace("</svg>", image)).iter(f"{{{SVG}}}image")
    assert element.attrib == {"href": "data:image/png;base64,iVBORw0KGgo=", "width": "9"}


def test_every_tone_has_its_rules():
    rules = tones()
    for place, (light, dark) in enumerate(TONES):
        assert f"--tone-{place}:light-dark({light},{dark});" in rules
        assert f".f{place}{{fill:var(--tone-{place})}}.s{place}{{stroke:var(--tone-{place})}}" in rules
