"""What a sequential walk keeps of all tokens while it compresses a layer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.core.composition import RefitTarget
from ream.models.decoder import Decoder


@dataclass(frozen=True)
class TokenBuffers:
    """What is kept on the host, or in mapped files, of all tokens while a layer is compressed.

    Attributes:
        inputs: [n, L, H] inputs of the MoE block in the compressed model; [n, L, 2H] where its router has others.
        targets: [n, L, H] of the refit: first the target itself, then, where nothing is chosen, its difference from
            the compressed layer's output; None without a refit.
        leaving: [n, L, ...], or [2n, L, ...] with the original's stream behind it: first what `LoadedLayer.leaving`
            needs (the residual, as a rule), then the hidden states that leave the layer.
        counted: [n, L], True for tokens that statistics count.
        factors: [n, L], what each token's error is multiplied with (`with_factors`); None: 1.
        logits: [n, L, N] of the original's router in its own stream; None where the router's rows are not fitted.
    """

    inputs: Tensor
    targets: Tensor | None
    leaving: Tensor
    counted: Tensor
    logits: Tensor | None = None
    factors: Tensor | None = None

    def fill_targets(self, target: RefitTarget, parts: Callable[[], Iterable[slice]]) -> None:
        """Fill the targets of a refit with the target ``global``; others the walk has filled.

        Args:
            target: of the refit.
            parts: starts a pass over the micro-batches of the compressed model's stream.
        """
        assert self.targets is not None
        if target == "global":
            sequences = len(self.targets)
            for part in parts():
                original = slice(part.start + sequences, part.stop + sequences)
                self.targets[part] = self.leaving[original] - self.leaving[part]

    def with_factors(self, decoder: Decoder, parts: Callable[[], Iterable[slice]]) -> "TokenBuffers":
        """With 1 / the norm of the hidden state that should leave the layer, where it is a sum; targets are filled."""
        if not decoder.additive:
            return self
        assert self.targets is not None
        factors = torch.empty(self.targets.shape[:2], dtype=torch.float32)
        for part in parts():
            state = decoder.states(self.leaving[part]).float() + self.targets[part].float()
            factors[part] = 1.0 / torch.linalg.vector_norm(state, dim=-1).clamp_min(torch.finfo(torch.float32).eps)
        return replace(self, factors=factors)
