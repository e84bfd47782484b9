"""What a proof found (`ream.models.family.derived.proof`)."""

from dataclasses import dataclass

CLOSE = 1e-3  # of the largest output, in float32; what is not understood is off by 0.03 and more


@dataclass(frozen=True)
class Proof:
    """What the proof found; differences are the largest, as fractions of the largest output.

    Attributes:
        layer: whose weights were used, the first with experts; then the first of each kind with another router.
        experts: number of experts that took part.
        outputs: difference of (a).
        moved: difference of (b).
        left_out: difference of (c); None where all experts are needed.
        seconds: that it took.
    """

    layer: int
    experts: int
    outputs: float
    moved: float
    left_out: float | None
    seconds: float

    @property
    def lasting(self) -> str:
        """What of the proof is the same on every machine and in every run, for the model card."""
        without = "" if self.left_out is None else ", and with an expert left out"
        return (
            f"in layer {self.layer}, {self.experts} experts computed what transformers' own block computes, to within "
            f"{CLOSE:g}: alone, in another order{without}"
        )

    def __str__(self) -> str:
        """A line for people."""
        without = "" if self.left_out is None else f", {self.left_out:.0e} with one left out"
        return (
            f"layer {self.layer}, {self.experts} experts: outputs differ from transformers' by {self.outputs:.0e}, by "
            f"{self.moved:.0e} with experts in another order{without}; {self.seconds:.1f} s"
        )
