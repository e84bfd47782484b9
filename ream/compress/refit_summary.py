"""What a refit left of the layers' squared errors, in words, with warnings."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

# A layer overfits where the error left on held-out sequences is this many times the error left on the fitted ones.
OVERFIT_RATIO = 1.5


def refit_result(layers: Mapping[str, Mapping[str, Any]]) -> str:
    """The fraction of squared error that a refit left, with a warning about layers that it overfits.

    Args:
        layers: layer index to the summary of its refit, as in the facts of a recipe; empty without a refit.

    Returns:
        The end of a line, beginning with "; "; empty without a refit.
    """
    if not layers:
        return ""
    left = sum(layer["left"] for layer in layers.values()) / len(layers)
    line = f"; refit leaves {left:.1%} of the layers' squared error"
    chosen = Counter(layer["candidate"] for layer in layers.values() if "candidate" in layer)
    if len(chosen) > 1 or any(len(layer.get("tried", {})) > 1 for layer in layers.values()):
        told = ", ".join(f"{name} in {count}" for name, count in chosen.most_common())
        line = f"; of {sum(chosen.values())} layers chosen: {told}{line}"
    unchanged = [index for index, layer in layers.items() if layer["left"] >= 1]
    kept = ""
    if unchanged:
        kept = f"; warning: layers {', '.join(unchanged)} keep their weights, "
        kept += "because refitted weights are no better in the dtype that is written"
    held_out = {index: layer["left_held_out"] for index, layer in layers.items() if layer["left_held_out"] is not None}
    if not held_out:
        return line + ", no sequence was held out" + kept
    line += f", {sum(held_out.values()) / len(held_out):.1%} on held-out sequences"
    overfitted = [
        index for index, value in held_out.items() if value > OVERFIT_RATIO * layers[index]["left"] or value > 1
    ]
    if overfitted:
        fitted = any("rounds" in layer for layer in layers.values())
        remedies = [
            "more sequences",
            *([] if chosen else ["a larger refit.ridge"]),
            *(["fewer refit.iterations"] if fitted else []),
        ]
        line += f"; warning: it overfits in layers {', '.join(overfitted)}: use {' or '.join(remedies)}"
    return line + kept
