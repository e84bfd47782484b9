"""Writing figures, without a display; the same figure gives the same bytes."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ream.machine.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MADE_BY_AXES = r"\mathdefault"  # in the labels of logarithmic axes


def save(figure: "Figure", path: Path) -> None:
    """Write a figure in the format of the path's suffix (.png, .svg), without the date of writing."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        write(figure, file, path.suffix[1:])


def write(figure: "Figure", file: BinaryIO, form: str) -> None:
    """Write a figure as "png" or "svg"; the bytes depend on the figure alone, not on time or place.

    Text in an SVG stays text, which is smaller than outlines of letters and can be searched. Names of imported models
    may have dollar signs, which are no formulas.
    """
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text() and MADE_BY_AXES not in text.get_text():
            text.set_parse_math(False)
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "ream", "svg.fonttype": "none"}):
        figure.savefig(file, format=form, dpi=120, metadata=metadata)
