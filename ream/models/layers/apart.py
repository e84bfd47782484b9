"""Where a layer's router is if the layer has no MoE block."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Apart:
    """A router and experts beside each other in a layer.

    Attributes:
        router: name in the layer of the module that decides.
        outputs: number of values that it returns.
        handed: positions among these of what the layer gives its experts behind their input.
    """

    router: str
    outputs: int
    handed: tuple[int, ...]
