"""Where in transformers' text model the experts are: the decoder's layers, the MoE block, and the experts module."""

import re
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.derived.weightless import expert_modules
from ream.models.layers.apart import Apart
from ream.models.layers.router_and_experts import block_in
from ream.models.layers.token_ids import DIGITS
from ream.models.layers.with_ids import WithIds

EXPERTS = re.compile(
    r"(?P<decoder>.*?)\b(?P<list>layers|h|blocks)\.(?P<layer>\d+)\.(?:(?P<block>.*)\.)?(?P<experts>\w+)"
)


@dataclass(frozen=True)
class Place:
    """Where a layer's experts are, in the text model of `weightless.shortest`.

    Attributes:
        decoder: path of the module that has the layers; "" for the text model itself.
        layer: index of the last layer of that model, the first whose router decides by hidden states.
        block: path of the MoE block within the layer; "" where router and experts lie in the layer itself.
        experts: name of the experts module within the block.
        apart: where the router is then; None before it is known (`apart.placed`).
        by_ids: whether the block is given token ids, too.
        state: number of values that the block is given by the layer before, and hands on; 0 for most models.
    """

    decoder: str
    layer: int
    block: str
    experts: str
    apart: Apart | None = None
    by_ids: bool = False
    state: int = 0

    @property
    def start(self) -> str:
        """Start of the names within the layer of the block's tensors."""
        return f"{self.block}." if self.block else ""

    def input_width(self, hidden: int) -> int:
        """Number of values of an input of the block; ``hidden`` is H."""
        return (hidden if self.apart is None else 2 * hidden) + self.state + (DIGITS if self.by_ids else 0)

    @property
    def layer_path(self) -> str:
        """Path of the layer within the text model."""
        return f"{self.decoder}.layers.{self.layer}" if self.decoder else f"layers.{self.layer}"

    @property
    def block_path(self) -> str:
        """Path of the MoE block within the text model."""
        return f"{self.layer_path}.{self.block}".rstrip(".")

    @property
    def experts_path(self) -> str:
        """Path of the experts module within the text model."""
        return f"{self.block_path}.{self.experts}"

    def block_of(self, text: Any) -> Any:
        """The MoE block of a text model."""
        return block_in(text.get_submodule(self.layer_path), self.block, self.apart, self.experts, self.state)

    def experts_of(self, text: Any) -> Any:
        """The experts module of a text model."""
        return text.get_submodule(self.experts_path)


def place_of(text: nn.Module) -> Place:
    """Where the experts of a text model are.

    Raises:
        NotDerivableError: two modules of a layer hold experts, or they do not belong to a block within the layer.
    """
    matches = [EXPERTS.fullmatch(path) for path in expert_modules(text)]
    found = [match for match in matches if match is not None and match["list"] == "layers"]
    if len(found) != len(matches) or not found:
        raise NotDerivableError("its experts do not lie in the layers of a decoder")
    first = max(found, key=lambda match: int(match["layer"]))
    if sum(match["layer"] == first["layer"] for match in found) > 1:
        raise NotDerivableError("a layer has two sets of routed experts")
    place = Place(first["decoder"].rstrip("."), int(first["layer"]), first["block"] or "", first["experts"])
    return replace(place, by_ids=bool(place.block) and isinstance(place.block_of(text), WithIds))
