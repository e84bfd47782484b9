"""Whether padding behind a sequence stays without effect on its tokens, asked of each layer on the user's own weights.

A walk pads the sequences of a micro-batch on the right and needs no mask, for in a causal layer no token sees what is
behind it. Whether that is so in a layer of a family that nobody has looked at (linear attention, state spaces, sparse
attention over blocks) is not read off its name: one sequence goes through the layer with its padding and without.
"""

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.layers.loaded import LoadedLayer

# Of the largest value; layers in which tokens see the padding are off by 0.1 and more.
CLOSE = {torch.float32: 1e-3, torch.float64: 1e-3}
ROUNDED = 0.03  # of dtypes with fewer digits


@torch.no_grad()
def check_padding(layer: LoadedLayer, entering: Tensor, mask: Tensor) -> None:
    """Refuse padded sequences in a layer that lets padding through.

    Args:
        layer: with its weights.
        entering: [n, L, ...] hidden states that enter the layer, on the host.
        mask: [n, L], True for real tokens, of the first rows at least.

    Raises:
        UserError: names the layer, how much its output changes, and what to do.
    """
    lengths = mask.sum(1)
    padded = ((lengths > 0) & (lengths < mask.shape[1])).nonzero()[:, 0]
    if not len(padded):
        return
    row = padded[lengths[padded].argmax()]
    length, hidden = int(lengths[row]), entering[row : row + 1]
    with_padding = layer(hidden)
    without = layer(hidden[:, :length])
    largest = 0.0
    for ours, theirs in zip(with_padding, without, strict=True):
        if ours is None or theirs is None:
            continue
        difference = (ours[:, :length] - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)
        largest = max(largest, float(difference))
    if largest > CLOSE.get(hidden.dtype, ROUNDED):
        raise UserError(
            f"layer {layer.index}: padding behind a sequence changes what the layer makes of its tokens, by "
            f"{largest:.2g} of the largest value; use sequences that are all of one length (calibration.fill: 1)"
        )
