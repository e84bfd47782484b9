"""How much memory and disk a compression takes, part by part, at the moment that takes most.

The parts follow what the walk does (`walk`, `one_shot`, `sequential`, `decoder`): one decoder layer is in memory in the
dtype of the computation, a sequential walk beside it holds the compressed experts of that layer, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream.core.assignments import waiting_bytes
from ream.core.statistics import blocks_of
from ream.estimate.refit_cost import choice_bytes, fit_bytes, refit_bytes
from ream.estimate.work import Work
from ream.machine.available import free_threads
from ream.models.family.architecture import Architecture
from ream.models.inspection.inventory import Inventory
from ream.models.moe_block import DENSE_TOKENS
from ream.models.storage.written_behind import AHEAD_BYTES, WAITING
from ream.walk.walk import EMBEDDED_BYTES

LIBRARIES = 700_000_000  # Python with torch, transformers and what they import, measured on a CPU
CUDA = 2_500_000_000  # what torch's CUDA libraries take on the host beside that
DOUBLE, SINGLE, HALF = 8, 4, 2  # bytes of float64, float32 and bfloat16
DECODING = 16  # bytes a parameter, beside what is stored, while a quantised tensor is decoded


@dataclass(frozen=True)
class Needs:
    """Bytes.

    Attributes:
        host, device: part to bytes, of what is there at the same time; device is empty where the host computes.
        disk: where the output is written, while it runs.
        walking: whether that is of the hidden states and statistics of the walk; else of the output.
    """

    host: dict[str, int]
    device: dict[str, int]
    disk: int
    walking: bool


@dataclass(frozen=True)
class Pieces:
    """Bytes of what comes and goes during a walk.

    Attributes:
        layer: the largest decoder layer, computed with. stacks: its experts alone.
        reading: of a tensor, beside its place in the layer. merging: of a member and the expert it goes into.
        writing: of tensors that are made and not yet written; or of embedding and head, which may lie side by side.
        sums, probes, alignment: what a layer keeps, and what aligning two experts takes.
        batch: activations of a micro-batch.
        streams: hidden states of all tokens in memory. embedding: what making the first ones takes beside them.
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
    batch: int
    streams: int
    embedding: int
    table: int


def needs_of(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> Needs:
    """What a compression needs.

    Args:
        parts: of the model. architecture: of the model.
        numbers: config.json, the text model's part.
        work: what is to be done.
    """
    pieces = _pieces(parts, architecture, numbers, work)
    on_gpu = work.device.type != "cpu"
    aligning = pieces.alignment if work.sequential else 0
    one_after_the_other = {
        "micro-batch": pieces.batch,
        "alignment": aligning,
        "refit": refit_bytes(architecture, work),
        "fit of all projections": fit_bytes(architecture, work),
        "choice of neurons": choice_bytes(architecture, work),
    }
    most_of_them = max(one_after_the_other, key=lambda name: one_after_the_other[name])
    computing = {
        "one layer": pieces.layer,
        most_of_them: one_after_the_other[most_of_them],
        "sums and probes": pieces.sums + pieces.probes,
    }
    host = {
        "libraries": LIBRARIES + (CUDA if on_gpu else 0),
        "hidden states": pieces.streams,
        "reading and merging": max(pieces.reading, pieces.merging if work.sequential else 0) + pieces.table,
    }
    if on_gpu:
        host |= {"one layer's experts": pieces.stacks, "sums and probes": pieces.sums + pieces.probes}
    else:
        host |= computing
    embedding = {"libraries": host["libraries"], "hidden states": pieces.streams, "embedding": pieces.embedding}
    after = {
        "libraries": host["libraries"],
        "alignment": 0 if on_gpu else pieces.alignment,
        "merging": pieces.merging,
        "writing": pieces.writing,
    }
    most = max((host, embedding, after), key=lambda each: sum(each.values()))
    walking, writing = _disk(parts, architecture, work)
    return Needs(most, computing if on_gpu else {}, max(walking, writing), walking > writing)


def hidden_bytes(architecture: Architecture, work: Work) -> int:
    """Of the hidden states of all tokens of a pass."""
    return work.pass_tokens * architecture.hidden * work.compute_bytes


def stream_bytes(architecture: Architecture, work: Work) -> list[int]:
    """Of every tensor of all tokens that is there at once: hidden states, and in a sequential walk the inputs of the
    experts; in a refit the errors, and with the target ``global`` the original's hidden states beside the compressed;
    in a fit of all projections what is left of the errors, in float32.
    """
    one = hidden_bytes(architecture, work)
    left = one // work.compute_bytes * max(SINGLE, work.compute_bytes)
    return [
        one * work.streams,
        *[one] * work.sequential,
        *[one] * (work.refit is not None),
        *[left] * (work.iterations > 0),
    ]


def _pieces(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> Pieces:
    experts, hidden, width, c = architecture.experts, architecture.hidden, architecture.width, work.compute_bytes
    moe = [parts.layers[index] for index in architecture.moe_layers]
    one = max(layer.experts.parameters for layer in moe) // experts
    quantised = parts.experts.bytes != parts.experts.plain_bytes
    stored = max(1, parts.experts.bytes // parts.experts.parameters)
    table_bytes = parts.embedding.bytes // parts.embedding.parameters

    def computed(index: int) -> int:
        layer = parts.layers[index]
        beside = layer.experts.share(work.experts, experts).parameters if work.sequential else 0
        return (layer.all.parameters - layer.copies.parameters + beside) * c

    member_bytes = SINGLE if quantised else stored
    sampled = min(work.probes, work.pass_tokens) if "activations" in work.terms else 0
    columns = 3 * hidden if "weights" in work.terms else 0
    features = 2 * (sampled + columns) + 2 * max(sampled, columns)  # of both, and of the one that is being made
    waiting = waiting_bytes(free_threads(work.device), width)
    streams = stream_bytes(architecture, work)
    fits = streams[0] <= work.hidden_memory / work.passes
    first = streams[0] if fits else max(EMBEDDED_BYTES, work.tokens * hidden * c)
    return Pieces(
        layer=max(computed(index) for index in range(architecture.depth)),
        stacks=one * experts * c,
        reading=max(parts.largest, one) * (stored + 1 + (DECODING if quantised else 0)),
        merging=one * (2 * member_bytes + 2 * SINGLE) if work.merges and work.experts < experts else 0,
        writing=max(min(AHEAD_BYTES, (WAITING + 1) * max(parts.largest, one) * stored), parts.outside.bytes),
        sums=DOUBLE * (experts * (2 * width + experts + 4 * hidden) * work.passes + width * hidden),
        probes=min(work.probes, work.pass_tokens) * hidden * c * work.passes,
        alignment=(features + 3 * width) * width * DOUBLE + 3 * sampled * width * c + waiting if work.terms else 0,
        batch=_batch(parts, architecture, numbers, work),
        streams=sum(size for size in streams if size <= work.hidden_memory / work.passes) * work.passes,
        embedding=parts.embedding.parameters * (table_bytes + 1)
        + (first // c * table_bytes if table_bytes != c else 0),
        table=parts.embedding.bytes if architecture.multi_token else 0,
    )


def _batch(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> int:
    """Activations of a micro-batch: the largest of what a layer, the statistics and the routed experts have."""
    tokens, c, k = work.batch, work.compute_bytes, architecture.top_k
    hidden, width, experts = architecture.hidden, architecture.width, architecture.experts
    layer = tokens * c * (max(each.other.outputs for each in parts.layers) + 4 * hidden)
    if parts.eager_attention:
        layer += tokens * work.tokens * int(numbers["num_attention_heads"]) * (2 * c + SINGLE)
    blocks = blocks_of(tokens, width, work.device)
    rows = blocks.tokens * min(blocks.experts, experts)
    statistics = tokens * (experts * (4 * SINGLE + DOUBLE + c) + k * 6 * DOUBLE + hidden * c)
    statistics += rows * (width * (4 * c + SINGLE) + hidden * c)
    if architecture.family.dense:
        routed = min(tokens, DENSE_TOKENS) * experts * c * (2 * hidden + 4 * width) + tokens * hidden * c
    else:
        routed = tokens * k * c * max(hidden + 4 * width, 3 * hidden) + tokens * hidden * c
    routed += tokens * c * max(each.shared.outputs for each in parts.layers)
    return 3 * tokens * hidden * c + max(layer, statistics, routed)


def _disk(parts: Inventory, architecture: Architecture, work: Work) -> tuple[int, int]:
    """What lies there while the model is walked, and while the output is written."""
    experts, hidden, moe = architecture.experts, architecture.hidden, len(architecture.moe_layers)
    hidden_states, *beside = stream_bytes(architecture, work)
    mapped = sum(size for size in beside if size > work.hidden_memory)
    corrections = 2 * corrections_bytes(parts, architecture, work)  # the walk's and the recipe's; then the output's
    permutations = moe * (experts - work.experts) * architecture.width * DOUBLE if work.terms else 0
    sums = DOUBLE * experts * (2 * hidden + experts + 4)
    probes = min(work.probes, work.pass_tokens) * hidden * work.compute_bytes
    statistics = 0 if work.sequential else moe * (sums + probes)
    walking = 2 * hidden_states * work.passes + mapped + 2 * statistics * work.passes + permutations
    writing = output_bytes(parts, architecture, work) + statistics * work.passes + 2 * permutations
    return corrections + walking, corrections + writing


def corrections_bytes(parts: Inventory, architecture: Architecture, work: Work) -> int:
    """Of the refitted projections of all layers: in the checkpoint's dtype, bfloat16 where it is quantised."""
    if work.refit is None:
        return 0
    quantised = parts.experts.bytes != parts.experts.plain_bytes
    stored = HALF if quantised else max(1, parts.experts.bytes // parts.experts.parameters)
    each = architecture.hidden * architecture.width * (3 if work.iterations else 1)
    return len(architecture.moe_layers) * work.experts * each * stored


def output_bytes(parts: Inventory, architecture: Architecture, work: Work) -> int:
    """Of the tensors of the compressed model."""
    kept = parts.kept(work.experts, architecture.experts)
    return kept.plain_bytes if work.unquantised else kept.bytes
