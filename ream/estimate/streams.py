"""Sizes of the tensors that hold all tokens of a pass while the model is walked."""

from ream.core.composition import OUTPUT_MEANS
from ream.core.known_outputs import MOST_BYTES
from ream.core.output_sample import BLOCKS
from ream.estimate.sizes import DOUBLE, SINGLE
from ream.estimate.work import Work
from ream.models.family.architecture import Architecture


def hidden_bytes(architecture: Architecture, work: Work) -> int:
    """Bytes of the hidden states of all tokens of a pass."""
    return work.pass_tokens * architecture.hidden * work.compute_bytes


def block_bytes(architecture: Architecture, work: Work, width: int) -> int:
    """Bytes of a sample's sums of all experts, block by block, in float64; 0 where outputs are not sampled.

    Args:
        architecture: of the model.
        work: what is to be done.
        width: numbers of a sum.
    """
    if work.sampled is None:
        return 0
    return len(work.needs & OUTPUT_MEANS) * BLOCKS * architecture.experts * width * DOUBLE


def stream_bytes(architecture: Architecture, work: Work) -> list[int]:
    """Bytes of each of the tensors of all tokens that exist at the same time.

    First the hidden states, with the target ``global`` those of the original beside the compressed; then, in a
    sequential walk, the inputs of the experts; in a refit the errors, and where something is chosen also the targets;
    where the router's rows are fitted, its logits; in a fit of all projections the remaining errors, in float32 at
    least.
    """
    hidden_states = hidden_bytes(architecture, work)
    remaining_errors = hidden_states // work.compute_bytes * max(SINGLE, work.compute_bytes)
    return [
        hidden_states * work.streams,
        *[hidden_states] * work.sequential,
        *[hidden_states] * (work.refit is not None),
        *[hidden_states] * (work.candidates > 0),
        *[work.pass_tokens * architecture.experts * work.compute_bytes] * work.router,
        *[remaining_errors] * (work.iterations > 0),
    ]


def known_bytes(architecture: Architecture, work: Work) -> int:
    """Bytes of the outputs of routed experts that a sequential walk keeps on a CPU until the layer is compressed."""
    if not (work.sequential and work.routed and work.refit is None and not work.chooses):
        return 0
    if work.device.type != "cpu":
        return 0
    return min(MOST_BYTES, work.all_tokens * architecture.top_k * architecture.expert_hidden * work.compute_bytes)
