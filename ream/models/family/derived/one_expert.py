"""What transformers' experts module answers for one expert alone."""

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def one_expert(experts: Any, x: Tensor, index: int, weight: float = 1.0) -> Tensor:
    """The module's outputs [T, H] where every token selects one expert, or one row of the router without an expert.

    LongCat's module runs only where tokens select two or more; then another one is selected, too, with weight 0.

    Args:
        experts: the module.
        x: [T, H] its inputs.
        index: of the expert.
        weight: of its outputs.

    Raises:
        PROBED: the module does not run on an input, indices and weights.
    """
    indices, weights = torch.full((len(x), 1), index), torch.full((len(x), 1), weight, dtype=x.dtype)
    try:
        output: Tensor = experts(x, indices, weights)
    except ValueError:
        other = torch.full_like(indices, 1 if index == 0 else 0)
        output = experts(x, torch.cat([indices, other], 1), torch.cat([weights, torch.zeros_like(weights)], 1))
    return output.reshape(x.shape)
