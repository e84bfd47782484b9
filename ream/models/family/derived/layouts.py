"""How a checkpoint's tensors hold experts, from the names and shapes in its header and where transformers loads them.

What transformers would write is not what was published: Qwen3.5 is published stacked and written one tensor for each
expert, and Qwen3-VL-MoE is published transposed. So the header decides, and shapes decide before conversions.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from ream.models.family.derived.conversion import Destination
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.layout import ExpertTensor, Layout, projections

GATE_FIRST = ("gate", "up")  # the order in which transformers joins the two into one tensor
ORDER = ("gate", "gate_up", "gate_up_bias", "up", "up_bias", "down", "down_bias")
NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")  # a whole word of a name


def disk_layout(
    places: Mapping[str, Destination],
    shapes: Mapping[str, tuple[int, ...]],
    module: Layout,
    hidden: int,
    width: int,
) -> Layout:
    """The layout of a layer's experts on disk.

    Args:
        places: of the experts' tensors of one layer: name on disk within the layer to destination within the block.
        shapes: of these tensors by the same names.
        module: the layout of the experts in transformers' block.
        hidden: H, of the experts' inputs.
        width: D.

    Returns:
        Tensors with names within the layer.

    Raises:
        NotDerivableError: a shape is neither that of a part of an expert nor transposed, or parts are missing.
    """
    kinds = {kind.name: kind for kind in module}
    found: dict[str, ExpertTensor] = {}
    for name, place in sorted(places.items()):
        own = kinds[place.name]
        counted = "MergeModulelist" in place.operations
        template = _template(name) if counted else name
        if template in found:
            continue
        if place.split or place.kinds > 2 or (place.kinds == 2 and not own.part.startswith("gate_up")):
            raise NotDerivableError(
                f"{name} is made into {place.name} in a way that ream does not know ({place.operations})"
            )
        part = own.part if place.kinds == 1 else own.part.replace("gate_up", GATE_FIRST[place.position])
        interleaved = own.interleaved != ("Interleave" in place.operations) and place.kinds == 1
        kind = ExpertTensor(template, part, interleaved=interleaved)
        turned = own.transposed != (place.operations.count("Transpose") % 2 == 1)
        found[template] = _oriented(kind, shapes[name], counted, turned, hidden, width)
    layout = tuple(sorted(found.values(), key=lambda kind: ORDER.index(kind.part)))
    if projections(layout) != projections(module) or len({kind.part for kind in layout}) < len(layout):
        raise NotDerivableError(f"the tensors of its experts on disk are {', '.join(found) or 'missing'}")
    return layout


def _template(name: str) -> str:
    """The name with ``{expert}`` for its last number."""
    numbers = list(NUMBER.finditer(name))
    if not numbers:
        raise NotDerivableError(f"{name} should belong to one expert and has no number in its name")
    last = numbers[-1]
    return f"{name[: last.start()]}{{expert}}{name[last.end() :]}"


def _oriented(
    kind: ExpertTensor, shape: tuple[int, ...], counted: bool, turned: bool, hidden: int, width: int
) -> ExpertTensor:
    """The tensor, transposed or not as its shape says; where both have that shape, as the conversion says."""
    share = shape if counted else shape[1:]
    fitting = [
        variant
        for variant in (replace(kind, transposed=turned), replace(kind, transposed=not turned))
        if variant.shape(hidden, width) == share
    ]
    if not fitting:
        raise NotDerivableError(
            f"{kind.name} has shape {list(shape)}, and an expert's {kind.part} is {list(kind.shape(hidden, width))}"
        )
    return replace(fitting[0], transposed=False) if kind.part.endswith("bias") else fitting[0]
