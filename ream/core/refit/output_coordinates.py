"""The coordinates of a layer's output in which its experts are refitted, where a matrix stands behind them.

Some MoE blocks multiply the weighted sum of their experts' outputs with a matrix P [H, E]: a projection out of a latent
space (Nemotron-H), a factor. With P = Q R, Q of orthonormal columns, changes X_j of the down projections leave

    ‖error − P sum_j X_j f_j‖² = ‖Q^T error − sum_j (R X_j) f_j‖² + what no change can reach.

So the refit is the usual one, of the down projections R W_down_j to the errors Q^T error.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import ExpertStack


@dataclass(frozen=True)
class OutputCoordinates:
    """The change of coordinates.

    Attributes:
        columns: Q; None where nothing stands behind the experts, so that nothing changes.
        factor: R.
    """

    columns: Float[Tensor, "H E"] | None = None
    factor: Float[Tensor, "E E"] | None = None

    def errors(self, errors: Float[Tensor, "T H"]) -> Float[Tensor, "T E"]:
        """Q^T error, the part of each token's error that experts can reach; in float32 at least."""
        if self.columns is None:
            return errors
        dtype = torch.promote_types(errors.dtype, torch.float32)
        return errors.to(dtype) @ self.columns.to(errors.device, dtype)

    def size(self, hidden: int) -> int:
        """The number of coordinates: E, or H where nothing changes."""
        return hidden if self.columns is None else self.columns.shape[1]

    def entered(self, experts: ExpertStack) -> ExpertStack:
        """The experts with R W_down, and R b of a bias of the output, in float32 at least."""
        if self.factor is None:
            return experts
        bias = experts.down_bias
        return replace(
            experts,
            down=self.down(experts.down),
            down_bias=None if bias is None else self.down(bias[..., None])[..., 0],
        )

    def down(self, down: Float[Tensor, "*N E D"]) -> Float[Tensor, "*N E D"]:
        """R W_down of one or several experts, in float32 at least."""
        if self.factor is None:
            return down
        dtype = torch.promote_types(down.dtype, torch.float32)
        return self.factor.to(down.device, dtype) @ down.to(dtype)

    def left(self, moved: Float[Tensor, "K E D"], before: Float[Tensor, "K E D"]) -> Float[Tensor, "K E D"]:
        """The down projections W with R W = ``moved``: the nearest to those before; these where nothing moved.

        Args:
            moved: down projections in these coordinates.
            before: W_down before the refit.
        """
        if self.factor is None:
            return moved
        change = moved.double() - self.down(before).double()
        inverse = torch.linalg.pinv(self.factor.double().cpu()).to(moved.device)
        down: Tensor = before.double() + inverse @ change
        return down.to(moved.dtype)


def output_coordinates(matrix: Float[Tensor, "H E"] | None) -> OutputCoordinates:
    """The coordinates for a matrix P behind the experts; None for no matrix."""
    if matrix is None:
        return OutputCoordinates()
    hidden, width = matrix.shape
    columns, factor = torch.linalg.qr(matrix.double().cpu())
    missing = (0, max(0, width - hidden))  # zero columns of Q and rows of R where H < E, so that R is square
    return OutputCoordinates(
        torch.nn.functional.pad(columns, missing), torch.nn.functional.pad(factor, (0, 0, *missing))
    )
