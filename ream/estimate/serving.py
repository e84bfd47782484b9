"""Serving kernels that do not take every number of experts, as data, with the source of each claim.

The table holds what was read in the kernels' sources at the commits named. Other versions may differ, and other kernels
were not looked at. docs/estimate.md says more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ream.errors import UserError
from ream.models.family.architecture import Architecture
from ream.models.family.sizes import check_kept

VLLM = "https://github.com/vllm-project/vllm/blob/0112cf233e0c60674c2844a09695ddeb2b901dc0/csrc/moe"
SGLANG = "https://github.com/sgl-project/sglang/blob"
FLASHINFER = "https://github.com/flashinfer-ai/flashinfer/blob/00d48651a39c30f9ca6c54757951f9cc245fdbfa/csrc"

# vLLM compiles its fused top-k for these on CUDA: powers of two, and five multiples of 64.
FUSED_TOPK = frozenset({*(2**power for power in range(10)), 192, 320, 384, 448, 576})
GPUS = 8  # in a usual machine


@dataclass(frozen=True)
class Kernel:
    """A kernel that does not take every number of experts equally well.

    Attributes:
        name: the kernel and its library.
        takes: whether it takes a number of experts, given that number and the number of router groups.
        otherwise: what happens to other numbers of experts.
        source: URL of the code that says so.
        scores: the router scores (`Family.scores`) that it is for; None: all.
        grouped: whether it is for group-limited routers alone.
    """

    name: str
    takes: Callable[[int, int], bool]
    otherwise: str
    source: str
    scores: str | None = None
    grouped: bool = False

    def concerns(self, model: Architecture) -> bool:
        """Whether a model may be served by this kernel."""
        return self.scores in (None, model.family.scores) and (model.router_groups > 1 or not self.grouped)


KERNELS = (
    Kernel(
        "vLLM's fused top-k softmax (CUDA)",
        lambda experts, groups: experts in FUSED_TOPK,
        "run through two slower general kernels",
        f"{VLLM}/topk_softmax_kernels.cu",
        scores="softmax",
    ),
    Kernel(
        "SGLang's moe_fused_gate",
        lambda experts, groups: experts & (experts - 1) == 0 and experts // groups <= 32,
        "are refused by the kernel, which needs a power of two, with at most 32 per router group",
        f"{SGLANG}/00c0d65c552fd89c699b7fab96b6172873769a14/sgl-kernel/csrc/moe/moe_fused_gate.cu",
        scores="sigmoid",
        grouped=True,
    ),
    Kernel(
        "FlashInfer's TensorRT-LLM kernels for FP8",
        lambda experts, groups: experts % 4 == 0,
        "are refused, because the router needs a multiple of 4",
        f"{FLASHINFER}/trtllm_fused_moe_kernel_launcher.cu",
    ),
    Kernel(
        f"SGLang's expert parallelism over {GPUS} GPUs",
        lambda experts, groups: experts % GPUS == 0,
        "are refused, because every GPU must have the same number",
        f"{SGLANG}/008d7d0e947e436a572cf8243674adf264dc8836/python/sglang/srt/layers/moe/fused_moe_triton/layer.py",
    ),
)


def concerns(model: Architecture, experts: int) -> list[str]:
    """One line for each kernel that takes the original's number of experts but not K, with the nearest that it takes.

    Args:
        model: the original.
        experts: K, of the compressed model.
    """
    lines = []
    for kernel in KERNELS:
        if not kernel.concerns(model) or kernel.takes(experts, model.router_groups):
            continue
        if not kernel.takes(model.experts, model.router_groups):
            continue  # the original is no better off
        taken_counts = [count for count in range(1, model.experts + 1) if kernel.takes(count, model.router_groups)]
        possible = [count for count in taken_counts if _can_keep(model, count)]
        nearest = [max((n for n in possible if n < experts), default=0), min(n for n in possible if n > experts)]
        lines.append(
            f"{kernel.name}: {experts} experts {kernel.otherwise}; nearest supported: "
            + " or ".join(f"{count}" for count in nearest if count)
        )
    return lines


def _can_keep(model: Architecture, experts: int) -> bool:
    """Whether the model can be compressed to that number of experts."""
    try:
        check_kept(model, experts)
    except UserError:
        return False
    return True
