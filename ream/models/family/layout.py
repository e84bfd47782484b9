"""How the weights of experts lie in tensors: one tensor for each expert and projection, or all experts stacked."""

from dataclasses import dataclass

# What an ExpertTensor can hold: one field of an Expert, or two, with the gate's rows above the up projection's.
PARTS: dict[str, tuple[str, ...]] = {
    "gate": ("gate",),
    "up": ("up",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
    "gate_up_bias": ("gate_bias", "up_bias"),
    "up_bias": ("up_bias",),
    "down_bias": ("down_bias",),
}


@dataclass(frozen=True)
class ExpertTensor:
    """A tensor with the weights of one expert, if its name counts experts, or of all, stacked along the first axis.

    Attributes:
        name: within the MoE block, with ``{expert}`` where the tensor belongs to one expert.
        part: a key of PARTS: what the tensor holds.
        transposed: whether the shape is [H, rows] instead of [rows, H]; for ``down``, [D, H] instead of [H, D].
        interleaved: whether gate and up rows alternate.
        beyond: number of tensors, or rows of a stack, behind the experts'. They are for rows of the router that stand
            for no expert (`Beyond`), nothing reads them, and they stay.
    """

    name: str
    part: str
    transposed: bool = False
    interleaved: bool = False
    beyond: int = 0

    @property
    def stacked(self) -> bool:
        """Whether the tensor holds all experts."""
        return "{expert}" not in self.name

    def shape(self, hidden: int, width: int) -> tuple[int, ...]:
        """The shape of one expert's share: two axes, or one for a bias.

        Args:
            hidden: H, of the experts' inputs and outputs.
            width: D.
        """
        rows, columns = (hidden, width) if self.part.startswith("down") else (width * len(PARTS[self.part]), hidden)
        if self.part.endswith("bias"):
            return (rows,)
        return (columns, rows) if self.transposed else (rows, columns)


Layout = tuple[ExpertTensor, ...]


def projections(layout: Layout) -> tuple[str, ...]:
    """The matrices of an expert in a layout: gate, up and down, or up and down, in that order."""
    held = {field for kind in layout for field in PARTS[kind.part]}
    return tuple(name for name in ("gate", "up", "down") if name in held)


PER_EXPERT: Layout = (
    ExpertTensor("experts.{expert}.gate_proj.weight", "gate"),
    ExpertTensor("experts.{expert}.up_proj.weight", "up"),
    ExpertTensor("experts.{expert}.down_proj.weight", "down"),
)
# Mixtral's names: w1 gate, w3 up, w2 down.
NUMBERED: Layout = (
    ExpertTensor("experts.{expert}.w1.weight", "gate"),
    ExpertTensor("experts.{expert}.w3.weight", "up"),
    ExpertTensor("experts.{expert}.w2.weight", "down"),
)
# As transformers 5 keeps experts in memory.
STACKED: Layout = (ExpertTensor("experts.gate_up_proj", "gate_up"), ExpertTensor("experts.down_proj", "down"))
TRANSPOSED: Layout = (
    ExpertTensor("experts.gate_up_proj", "gate_up", transposed=True),
    ExpertTensor("experts.down_proj", "down", transposed=True),
)
INTERLEAVED: Layout = (
    ExpertTensor("experts.gate_up_proj", "gate_up", transposed=True, interleaved=True),
    ExpertTensor("experts.gate_up_proj_bias", "gate_up_bias", interleaved=True),
    ExpertTensor("experts.down_proj", "down", transposed=True),
    ExpertTensor("experts.down_proj_bias", "down_bias"),
)
