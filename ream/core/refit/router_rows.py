"""The refit of a router's rows, in closed form (docs/refit.md; the idea is Router KD's, arXiv 2603.02217).

In a compressed model the hidden states x' that a layer's router sees differ from the original's x. The rows are fitted
so that the kept experts have the logits on x' that they have in the original on x:

    minimise over ΔW: sum over tokens of ‖z(x) − z(x') − ΔW x'‖² + λ · mean(diag G) · ‖ΔW‖²,   G = sum of x' x'^T

Biases stay. All N rows share G and are independent of each other, so that those of experts which go do not matter, and
a mean of rows, where a group keeps its neurons, is fitted by the mean of these. λ is the one of the list that leaves
least on held-out tokens; rows stay as they are where none leaves less.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ream.core.refit.chosen_ridge import RIDGES
from ream.core.refit.sums import Total, own


@dataclass(frozen=True)
class _Sums:
    """Sums over tokens: of x' x'^T, of (z(x) − z(x')) x'^T, and of (z(x) − z(x'))²."""

    gram: Float64[Tensor, "H H"]
    cross: Float64[Tensor, "N H"]
    squares: Float64[Tensor, " N"]

    def left(self, change: Float64[Tensor, "N H"]) -> float:
        """The squared error of all logits that a change of the rows leaves."""
        return float(self.squares.sum() - 2 * (change * self.cross).sum() + ((change @ self.gram) * change).sum())


class RouterRows:
    """Accumulates what the rows are fitted to, micro-batch by micro-batch."""

    def __init__(self, experts: int, hidden: int, device: torch.device) -> None:
        """Start with nothing.

        Args:
            experts: N.
            hidden: H.
            device: to compute on.
        """
        self._sums = [  # of fitted and of held-out tokens
            _Sums(*(torch.zeros(size, dtype=torch.float64, device=device) for size in sizes))
            for sizes in [((hidden, hidden), (experts, hidden), (experts,))] * 2
        ]

    def add(self, x: Float[Tensor, "T H"], error: Float[Tensor, "T N"], fitted: Bool[Tensor, " T"]) -> None:
        """Add tokens.

        Args:
            x: x', what the router is given in the compressed model.
            error: z(x) − z(x'), the original's logits there minus those of the original's rows here.
            fitted: False for held-out tokens.
        """
        for sums, rows in zip(self._sums, (fitted, ~fitted), strict=True):
            inputs, errors = x[rows].double(), error[rows].double()
            sums.gram.add_(inputs.T @ inputs)
            sums.cross.add_(errors.T @ inputs)
            sums.squares.add_(errors.square().sum(0))

    def change(self, total: Total = own) -> tuple[Float64[Tensor, "N H"], float]:
        """ΔW, and the fraction of the squared error on held-out tokens that it leaves; 0 and 1 where nothing helps.

        Args:
            total: of all processes that share the tokens.
        """
        fitted, held_out = (_Sums(total(each.gram), total(each.cross), total(each.squares)) for each in self._sums)
        best = torch.zeros_like(fitted.cross)
        before = least = held_out.left(best)
        mean = fitted.gram.diagonal().mean()
        eye = torch.eye(len(fitted.gram), dtype=torch.float64, device=best.device)
        for ridge in RIDGES if float(mean) else ():
            factor, failed = torch.linalg.cholesky_ex(fitted.gram + ridge * mean * eye)
            if bool(failed):
                break
            change = torch.cholesky_solve(fitted.cross.T, factor).T
            if held_out.left(change) < least:
                best, least = change, held_out.left(change)
        return best, least / before if before else 1.0
