"""A figure rendered for the page: its caption, SVG, PNG and data."""

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ream.analysis.figures.files import write
from ream.analysis.tables.table import Table

COLOURS = 128  # of a PNG: lines, markers and the edges of letters need no more

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A rendered figure.

    Attributes:
        name: name of its files, without suffix.
        caption: plain text; its first sentence is a title.
        svg: the picture as a complete SVG document.
        png: the same picture; None where there is none.
        data: the numbers it shows.
    """

    name: str
    caption: str
    svg: str
    png: bytes | None
    data: Table

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels, 96 per inch, from the points that the SVG gives.

        Raises:
            ValueError: the SVG does not give its size in points.
        """
        root = re.search(r"<svg[^>]*>", self.svg)
        lengths = [re.search(rf'\s{side}="([0-9.]+)pt"', root[0]) if root else None for side in ("width", "height")]
        width, height = (round(float(length[1]) * 96 / 72) if length else 0 for length in lengths)
        if not (width and height):
            raise ValueError(f"the SVG of {self.name} does not give its width and height in points")
        return width, height


def drawing(name: str, figure: "Figure", caption: str, data: Table) -> Drawing:
    """Render a matplotlib figure; the same figure gives the same bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    write(figure, svg, "svg")
    write(figure, png, "png")
    return Drawing(name, caption, svg.getvalue().decode(), _smaller(png), data)


def _smaller(png: io.BytesIO) -> bytes:
    """The picture with COLOURS colours, which makes it about a third as large."""
    from PIL import Image

    made = io.BytesIO()
    Image.open(png).convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE).save(made, "png", optimize=True)
    return made.getvalue()
