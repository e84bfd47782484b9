"""Coordinates for the fit of all projections, in which the curvature is about the same in all directions.

With an expert's tokens, and L a Cholesky factor of the mean of x x^T, the gate row of neuron n is

    W_n = W_n⁰ + s · V_n L⁻¹ / sqrt(sum of (g ∂unit/∂gate_n)² · ‖W_down_n‖²)

an up row the same with ∂unit/∂up_n (experts without a gate have up rows alone), and a down projection W⁰ + s · V M⁻¹
with M a factor of the sum of f f^T, f = g unit(...). In V, Gauss and Newton's matrix is s² times the identity but for
what couples neurons, or projections. s² is the error at the start times T_j over the mean T̄ of all experts' tokens, so
that a step of the same size in all coordinates moves experts with few tokens less: they have less error to take back,
and overfit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import Expert, pre_activations, scaled_inputs
from ream.core.refit.projection_passes import FitProblem, fitted_parts, routed_places
from ream.core.refit.sums import subset

TINY = 1e-12  # added to the scales, so that none is zero


@dataclass(frozen=True)
class Coordinates:
    """The linear map between V, which the fit moves, and the projections of one expert.

    Attributes:
        inputs: L⁻¹.
        hidden: M⁻¹.
        rows: for gate and up, or up alone, 1 / sqrt of each neuron's curvature in its row.
        used: whether a fitted token is routed to the expert; if not, nothing moves it.
        scale: s.
    """

    inputs: Float[Tensor, "H H"]
    hidden: Float[Tensor, "D D"]
    rows: Mapping[str, Float[Tensor, " D"]]
    used: bool
    scale: float

    def moved(self, expert: Expert, moves: Sequence[Tensor]) -> Expert:
        """The expert with its projections moved.

        Args:
            expert: where V is 0.
            moves: V of gate and up [D, H] and down [H, D]; without a gate of up and down.
        """
        if not self.used:
            return expert
        *rows, down = moves
        moved = {
            name: getattr(expert, name) + self.scale * scales[:, None] * (move @ self.inputs)
            for (name, scales), move in zip(self.rows.items(), rows, strict=True)
        }
        return replace(expert, **moved, down=expert.down + self.scale * down @ self.hidden)

    def gradient(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients with respect to V.

        Args:
            gradients: with respect to gate and up [D, H] and down [H, D]; without a gate to up and down.
        """
        if not self.used:
            return [torch.zeros_like(gradient) for gradient in gradients]
        *rows, down = gradients
        scaled = zip(self.rows.values(), rows, strict=True)
        return [
            *(self.scale * scales[:, None] * (gradient @ self.inputs.T) for scales, gradient in scaled),
            self.scale * down @ self.hidden.T,
        ]


def expert_coordinates(
    problem: FitProblem, experts: Sequence[Expert], damping: float, scale: float
) -> list[Coordinates]:
    """The coordinates of B experts, in one pass over the tokens.

    Args:
        problem: the tokens, and the indices of these experts.
        experts: in float32 at least.
        damping: fraction of a matrix's mean diagonal that is added to its diagonal.
        scale: the square root of the error at the start.
    """
    device, dtype = experts[0].down.device, experts[0].down.dtype
    hidden, width = experts[0].down.shape
    count = torch.zeros(len(experts), dtype=torch.float64, device=device)
    inputs = torch.zeros(len(experts), hidden, hidden, dtype=dtype, device=device)
    outputs = torch.zeros(len(experts), width, width, dtype=dtype, device=device)
    names = fitted_parts(experts[0])[:-1]
    slopes = torch.zeros(len(experts), len(names), width, dtype=torch.float64, device=device)
    for tokens in problem.stream():
        fitted_tokens = subset(tokens, tokens.fitted)
        for place, rows, weights in routed_places(fitted_tokens, problem.which):
            expert = experts[place]
            x = scaled_inputs(fitted_tokens.x[rows].to(dtype), expert)
            with torch.enable_grad():
                products = [product.detach().requires_grad_() for product in pre_activations(x, expert)]
                activations = problem.unit(*products)
                derivatives = torch.autograd.grad(activations.sum(), products)
            features = activations.detach() * weights.to(dtype)
            count[place] += len(rows)
            inputs[place] += x.T @ x
            outputs[place] += features.T @ features
            slopes[place] += torch.stack([(slope * weights).double().square().sum(0) for slope in derivatives])
    count, inputs, outputs, slopes = (problem.total(sums) for sums in (count, inputs, outputs, slopes))
    shares = (count / count[count > 0].mean()).sqrt().tolist()
    coordinates = []
    for place, expert in enumerate(experts):
        curvatures = slopes[place] * expert.down.double().square().sum(0)
        curvatures += damping * curvatures.mean(1, keepdim=True) + TINY
        scales = dict(zip(names, curvatures.rsqrt().to(dtype), strict=True))
        input_factor = _inverse_factor(inputs[place] / count[place].clamp_min(1.0), damping)
        hidden_factor = _inverse_factor(outputs[place], damping)
        coordinates.append(Coordinates(input_factor, hidden_factor, scales, bool(count[place]), scale * shares[place]))
    return coordinates


def _inverse_factor(matrix: Float[Tensor, "n n"], damping: float) -> Float[Tensor, "n n"]:
    """The inverse of the Cholesky factor of a damped matrix, computed in float64, in the matrix's dtype."""
    double = matrix.to(torch.float64, copy=True)
    double.diagonal().add_(damping * double.diagonal().mean() + TINY)
    factor = torch.linalg.cholesky(double)
    eye = torch.eye(len(double), dtype=torch.float64, device=double.device)
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse.to(matrix.dtype)
