"""Sizes in memory of what comes and goes during a walk; `ream.estimate.memory` adds up what exists at the same time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream.core.assignments import waiting_bytes
from ream.core.projection import DIMENSIONS
from ream.core.statistics import blocks_of
from ream.estimate.sizes import DOUBLE, SINGLE
from ream.estimate.streams import block_bytes, stream_bytes
from ream.estimate.work import Work
from ream.machine.available import free_threads
from ream.models.family.architecture import Architecture
from ream.models.inspection.inventory import Inventory
from ream.models.moe_block import DENSE_TOKENS
from ream.models.storage.written_behind import AHEAD_BYTES, WAITING
from ream.walk.walk import EMBEDDED_BYTES

DECODING = 16  # bytes a parameter, beside what is stored, while a quantised tensor is decoded


@dataclass(frozen=True)
class Pieces:
    """Bytes of what comes and goes during a walk.

    Attributes:
        layer: the largest decoder layer, in the dtype of the computation; a sequential walk's with the compressed
            experts beside the original's.
        stacks: the experts of a layer alone, in the dtype of the computation.
        reading: a tensor that is being read, beside its place in the layer.
        merging: a member of a group and the expert that it is merged into.
        writing: tensors that are made and not yet written, or embedding and head, which may exist side by side.
        sums: the statistics of a layer.
        probes: the probe tokens of a layer.
        alignment: aligning two experts, with the cost matrices that wait for a thread.
        projection: the weights of all neurons of a layer while their principal components are computed, on the host.
        batch: activations of a micro-batch.
        streams: tensors of all tokens that are kept in memory.
        embedding: making the first hidden states, beside them.
        table: the embedding, where multi-token layers use it.
    """

    layer: int
    stacks: int
    reading: int
    merging: int
    writing: int
    sums: int
    probes: int
    alignment: int
    projection: int
    batch: int
    streams: int
    embedding: int
    table: int


def pieces_of(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> Pieces:
    """Sizes of what comes and goes during a walk.

    Args:
        parts: sizes of the model's parts.
        architecture: of the model.
        numbers: config.json, the text model's part.
        work: what is to be done.
    """
    experts, hidden, width, c = architecture.experts, architecture.hidden, architecture.width, work.compute_bytes
    inner = architecture.expert_hidden
    expert = max(parts.layers[index].experts.parameters for index in architecture.moe_layers) // experts
    largest = max(parts.largest, expert)
    quantised = parts.experts.bytes != parts.experts.plain_bytes
    stored = max(1, parts.experts.bytes // parts.experts.parameters)
    table_bytes = parts.embedding.bytes // parts.embedding.parameters
    member_bytes = SINGLE if quantised else stored
    streams = stream_bytes(architecture, work)
    fits = streams[0] <= work.hidden_memory / work.passes
    first = streams[0] if fits else max(EMBEDDED_BYTES, work.tokens * hidden * c)
    return Pieces(
        layer=max(_layer_bytes(parts, architecture, work, index) for index in range(architecture.depth)),
        stacks=expert * experts * c,
        reading=largest * (stored + 1 + (DECODING if quantised else 0)),
        merging=expert * (2 * member_bytes + 2 * SINGLE) if work.merges and work.experts < experts else 0,
        writing=max(min(AHEAD_BYTES, (WAITING + 1) * largest * stored), parts.outside.bytes),
        sums=DOUBLE * (experts * (2 * width + experts + 4 * inner) * work.passes + width * inner)
        + block_bytes(architecture, work, width + inner)
        + 2 * DOUBLE * work.batches * experts,
        probes=work.kept_inputs * hidden * c,
        alignment=_alignment_bytes(architecture, work),
        projection=_projection_bytes(architecture, work),
        batch=_batch_bytes(parts, architecture, numbers, work),
        streams=sum(size for size in streams if size <= work.hidden_memory / work.passes) * work.passes,
        embedding=parts.embedding.parameters * (table_bytes + 1)
        + (first // c * table_bytes if table_bytes != c else 0),
        table=parts.embedding.bytes if architecture.multi_token else 0,
    )


def _layer_bytes(parts: Inventory, architecture: Architecture, work: Work, index: int) -> int:
    """A layer in the dtype of the computation, with its compressed experts beside it in a sequential walk."""
    layer = parts.layers[index]
    compressed = layer.experts.share(work.experts, architecture.experts).parameters if work.sequential else 0
    return (layer.all.parameters - layer.copies.parameters + compressed) * work.compute_bytes


def _alignment_bytes(architecture: Architecture, work: Work) -> int:
    """Features of a centroid and a member, their cost matrices, and those that wait for a thread."""
    if not work.terms:
        return 0
    width = architecture.width
    sampled = min(work.probes, work.pass_tokens) if "activations" in work.terms else 0
    columns = len(architecture.projections) * architecture.expert_hidden if "weights" in work.terms else 0
    columns += components_of(architecture) if "weights-pca" in work.terms else 0
    features = 2 * (sampled + columns) + 2 * max(sampled, columns)  # of both, and of the one that is being made
    waiting = waiting_bytes(free_threads(work.device), width)
    return (features + 3 * width) * width * DOUBLE + 3 * sampled * width * work.compute_bytes + waiting


def components_of(architecture: Architecture) -> int:
    """Components to which the neurons of a layer are projected."""
    features = len(architecture.projections) * architecture.expert_hidden
    return min(DIMENSIONS, features, architecture.experts * architecture.width)


def _projection_bytes(architecture: Architecture, work: Work) -> int:
    """The normalised weights of all neurons in float32, and four times their components (`projected_neurons`)."""
    if "weights-pca" not in work.terms:
        return 0
    features = len(architecture.projections) * architecture.expert_hidden
    return architecture.experts * architecture.width * (features + 4 * components_of(architecture)) * SINGLE


def _batch_bytes(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> int:
    """Activations of a micro-batch: the most that attention, the statistics or the routed experts take."""
    tokens, c, k = work.batch, work.compute_bytes, architecture.top_k
    hidden, width, experts = architecture.hidden, architecture.width, architecture.experts
    attention = tokens * c * (max(layer.other.outputs for layer in parts.layers) + 4 * hidden)
    if parts.eager_attention:
        attention += tokens * work.tokens * int(numbers["num_attention_heads"]) * (2 * c + SINGLE)
    blocks = blocks_of(tokens, width, work.device)
    rows = blocks.tokens * min(blocks.experts, experts)
    statistics = tokens * (experts * (4 * SINGLE + DOUBLE + c) + k * 6 * DOUBLE + hidden * c)
    statistics += rows * (width * (4 * c + SINGLE) + hidden * c)
    if architecture.family.dense:
        routed = min(tokens, DENSE_TOKENS) * experts * c * (2 * hidden + 4 * width) + tokens * hidden * c
    else:
        routed = tokens * k * c * max(hidden + 4 * width, 3 * hidden) + tokens * hidden * c
    routed += tokens * c * max(layer.shared.outputs for layer in parts.layers)
    return 3 * tokens * hidden * c + max(attention, statistics, routed)
