"""One layer of a public model's shape with random weights, and hidden states for it, for `benchmarks.speed`."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed_clock import Clock, Measured, Sides
from benchmarks.speed_shapes import Shape
from ream.core.grouping import Experts, Groups, grouped
from ream.core.saliency import SALIENCIES
from ream.core.similarity import similarity
from ream.core.statistics import LayerStatistics
from ream.core.sums import Sums
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.inspection.inventory import inventory
from ream.models.inspection.planned import PlannedCheckpoint
from ream.models.moe_block import MoEBlock
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_writing import OutputTensor, tensor_bytes, write_shard

FULL_TOKENS, LENGTH = 3072 * 512, 512


class Layer:
    """A layer in memory, read from a checkpoint that was written for it.

    Attributes:
        shape: the shape of the layer.
        config: the config of its checkpoint, of which the number of experts may be smaller than the shape's.
        real_experts: number of experts of the shape.
        T: number of tokens.
        N: number of experts built.
        K: number of experts kept, the shape's fraction of N.
        H: hidden size.
        D: width of an expert.
        k: number of experts that each token selects.
        pairs: how many pairs of experts are aligned.
        more_tokens: factor from T to the tokens of a full run.
        more_experts: factor from N to the shape's experts.
        hidden: hidden states, [sequences, length, H].
        x: the same, [T, H].
        measured: measurements by the name of their part: reading, writing, and what parts measure beside themselves.
    """

    def __init__(
        self, folder: Path, shape: Shape, clock: Clock, experts: int | None, tokens: int, pairs: int, dtype: torch.dtype
    ) -> None:
        """Write the checkpoint, read it, and measure both.

        Args:
            folder: for the checkpoint.
            shape: of the layer.
            clock: to time with.
            experts: how many experts to build; None for those of the shape.
            tokens: how many tokens to draw, in sequences of LENGTH or one shorter one.
            pairs: how many pairs of experts are aligned.
            dtype: dtype of the computation.
        """
        key = "n_routed_experts" if "n_routed_experts" in shape.config else "num_experts"
        self.shape, self.clock, self.real_experts, self.pairs = shape, clock, int(shape.config[key]), pairs
        self.config = shape.config | {key: experts or self.real_experts}
        self.more_experts = self.real_experts / self.config[key]
        (folder / "config.json").write_text(json.dumps(self.config | {"dtype": "bfloat16"}))
        writing = clock.moved(shard_writer(folder), self.more_experts * shape.kept / self.real_experts)
        self.checkpoint = Checkpoint(folder)
        self.architecture = architecture_of(self.checkpoint)
        self.decoder = Decoder(self.checkpoint, self.architecture, clock.device, dtype)
        self.parts = inventory(self.checkpoint, self.architecture).layers[0]
        self.N, self.k = self.architecture.experts, self.architecture.top_k
        self.K = max(self.k, round(self.N * shape.kept / self.real_experts))
        self.H, self.D = self.architecture.hidden, self.architecture.width
        blocks: list[MoEBlock] = []

        def read() -> int:
            blocks.append(self.decoder.block(0))
            return int(self.parts.experts.bytes)

        self.measured: dict[str, Measured] = {"reading": clock.moved(read, self.more_experts), "writing": writing}
        self.block = blocks[0]
        self.T, self.length = tokens, min(LENGTH, tokens)
        self.more_tokens = FULL_TOKENS / self.T
        generator = torch.Generator().manual_seed(1)
        hidden = torch.randn(self.T // self.length, self.length, self.H, generator=generator)
        self.hidden = hidden.to(clock.device, self.decoder.dtype)
        self.x = self.hidden.flatten(0, 1)

    @cached_property
    def sums(self) -> Sums:
        """Statistics of all experts on all tokens."""
        statistics = LayerStatistics(self.block.experts, self.block.unit)
        statistics.update(self.x, self.block.route(self.x))
        return statistics.result()

    def groups(self) -> tuple[np.ndarray, Groups]:
        """Saliency, [N], and K groups whose centroids absorb about as many experts each."""
        saliency = SALIENCIES["reap"](self.sums)
        alike = similarity(["gate-logits", "gated-output"], self.sums)
        return saliency, grouped("pseudo-pruning", Experts(saliency, alike), self.K, max(1, -(-self.N // self.K)))

    def product(self, work: Callable[[], object], flops: float, sides: Sides, scale: float) -> Measured:
        """Measure work that consists of matrix products in the decoder's dtype; arguments as of `Clock.part`."""
        with torch.no_grad():
            return self.clock.part(lambda: self.clock.once(work), flops, sides, self.decoder.dtype, scale)


def shard_writer(folder: Path) -> Callable[[], int]:
    """A function that writes the shard of a folder's config.json, with random weights, and returns its bytes."""
    planned = list(PlannedCheckpoint(folder).tensors.values())
    pool = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0))
    tensors = [OutputTensor(tensor.name, "BF16", tensor.shape, noise(pool, tensor.shape)) for tensor in planned]

    def write() -> int:
        write_shard(folder / "model.safetensors", tensors)
        return (folder / "model.safetensors").stat().st_size

    return write


def noise(pool: torch.Tensor, shape: tuple[int, ...]) -> Callable[[], Iterator[bytes]]:
    """A function that makes the bfloat16 bytes of a random tensor, piece by piece.

    Matrices have variance 1 / columns; vectors lie around 1, as the weights of norms do.

    Args:
        pool: normal numbers to take pieces from, [at least 65536].
        shape: of the tensor.
    """

    def make() -> Iterator[bytes]:
        left, place = int(np.prod(shape)), int(np.prod(shape)) % 1009
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 1.0
        while left:
            piece = pool[place : place + left] * scale if len(shape) > 1 else 1.0 + 0.1 * pool[place : place + left]
            yield tensor_bytes(piece.bfloat16())
            left, place = left - len(piece), (place + 7919) % 65536

    return make
