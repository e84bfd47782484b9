"""A figure's SVG as part of the page, so that it follows the page's theme.

The page's policy allows no style attributes, so they become attributes of presentation, which rules of the page's style
override: colours of the methods get the classes fN and sN (fill and stroke of tone N), black becomes the colour of text
and white the ground. A copy of the picture without the page still has its colours on white.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from markupsafe import Markup

from ream.analysis.figures.style import COLOURS, TONES

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DROPPED = {f"{{{SVG}}}metadata", f"{{{SVG}}}style", f"{{{SVG}}}title"}
BLACK, WHITE = "#000000", "#ffffff"
FONT = "sans-serif"
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline(svg: str, name: str, label: str) -> Markup:
    """The picture as an element of the page.

    Args:
        svg: a complete SVG document of ours, with its size in points.
        name: goes before all ids, which are unique in one picture only.
        label: what is shown, for those who cannot see it.
    """
    root = ElementTree.fromstring(svg)
    _drop(root)
    used = set(_references(root))
    for element in root.iter():
        _present(element)
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")
        for key, value in list(element.attrib.items()):
            if key in ("href", f"{{{XLINK}}}href"):
                element.attrib.pop(key)
                # an embedded picture, such as a colour bar, has its own bytes there, broken into lines
                place = f"#{name}-{value[1:]}" if value.startswith("#") else "".join(value.split())
                element.set("href", place)
            elif match := REFERENCE.fullmatch(value):
                element.set(key, f"url(#{name}-{match[1]})")
            elif key == "d":
                element.set(key, " ".join(value.split()))
        if not (element.text or "").strip():
            element.text = None
        element.tail = None
    root.attrib |= {"role": "img", "aria-label": label, "class": "drawn", "fill": "currentColor"}
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt", "font-family": FONT}
    ElementTree.register_namespace("", SVG)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def tones() -> str:
    """The rules that give the classes of inline pictures, and the page's own marks, their colours in both themes."""
    names = "".join(f"--tone-{place}:light-dark({light},{dark});" for place, (light, dark) in enumerate(TONES))
    rules = "".join(
        f".f{place}{{fill:var(--tone-{place})}}.s{place}{{stroke:var(--tone-{place})}}" for place in range(len(TONES))
    )
    return f":root{{{names}}}\n{rules}.fg{{fill:var(--card)}}.sg{{stroke:var(--card)}}\n"


def _drop(element: ElementTree.Element) -> None:
    """Remove what the page does not need, or does not allow."""
    for child in list(element):
        if child.tag in DROPPED:
            element.remove(child)
        else:
            _drop(child)


def _references(root: ElementTree.Element) -> Iterator[str]:
    """The ids that are referred to."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in ("href", f"{{{XLINK}}}href"):
                if value.startswith("#"):
                    yield value[1:]
            else:
                yield from REFERENCE.findall(value)


def _present(element: ElementTree.Element) -> None:
    """Turn the style of an element into attributes and classes."""
    classes = []
    declared = dict(part.split(":", 1) for part in element.attrib.pop("style", "").split(";") if ":" in part)
    for key, value in ((key.strip(), value.strip()) for key, value in declared.items()):
        if key == "font-family":
            continue
        colour = value.lower() if key in ("fill", "stroke") else ""
        if colour in COLOURS:
            classes.append(f"{key[0]}{COLOURS.index(colour)}")
        elif colour == WHITE:
            classes.append(f"{key[0]}g")
        element.set(key, "currentColor" if colour == BLACK else value)
    if classes:
        element.set("class", " ".join(classes))
