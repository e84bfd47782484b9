"""How much disk a compression takes: while the model is walked, and while the output is written."""

from ream.estimate.sizes import DOUBLE, HALF, SINGLE
from ream.estimate.streams import block_bytes, stream_bytes
from ream.estimate.work import Work
from ream.models.family.architecture import Architecture
from ream.models.inspection.inventory import Inventory


def disk_bytes(parts: Inventory, architecture: Architecture, work: Work) -> tuple[int, int]:
    """Bytes on disk while the model is walked, and while the output is written."""
    experts, hidden, moe = architecture.experts, architecture.expert_hidden, len(architecture.moe_layers)
    hidden_states, *beside = stream_bytes(architecture, work)
    mapped = sum(size for size in beside if size > work.hidden_memory)
    corrections = 2 * corrections_bytes(parts, architecture, work)  # the walk's and the recipe's; then the output's
    permutations = moe * (experts - work.experts) * architecture.width * DOUBLE if work.terms else 0
    sums = DOUBLE * experts * (2 * hidden + experts + 4)
    probes = min(work.probes, work.pass_tokens) * hidden * work.compute_bytes
    blocks = block_bytes(architecture, work, hidden) * SINGLE // DOUBLE
    statistics = 0 if work.sequential else moe * (sums + probes + blocks)
    batches = 0 if work.sequential else moe * 2 * DOUBLE * work.batches * experts  # of all passes
    walking = 2 * hidden_states * work.passes + mapped + 2 * (statistics * work.passes + batches) + permutations
    writing = output_bytes(parts, architecture, work) + statistics * work.passes + batches + 2 * permutations
    return corrections + walking, corrections + writing


def corrections_bytes(parts: Inventory, architecture: Architecture, work: Work) -> int:
    """Bytes of the refitted projections of all layers: in the checkpoint's dtype, bfloat16 where it is quantised."""
    if work.refit is None:
        return 0
    quantised = parts.experts.bytes != parts.experts.plain_bytes
    stored = HALF if quantised else max(1, parts.experts.bytes // parts.experts.parameters)
    weights = architecture.expert_hidden * architecture.width  # of one projection
    weights *= len(architecture.projections) if work.iterations else 1
    return len(architecture.moe_layers) * work.experts * weights * stored


def output_bytes(parts: Inventory, architecture: Architecture, work: Work) -> int:
    """Bytes of the tensors of the compressed model."""
    kept = parts.kept(work.experts, architecture.experts)
    return kept.plain_bytes if work.unquantised else kept.bytes
