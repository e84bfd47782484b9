"""What a compression needs, from the numbers of the manifest alone."""

from dataclasses import dataclass

from ream.models.dtypes import DTYPES
from ream.models.manifest import Manifest

GIGA = 1e9


@dataclass(frozen=True)
class Estimate:
    """Sizes in bytes, arithmetic in floating-point operations.

    Attributes:
        parameters_before, parameters_after: of the whole model.
        disk_output: of the compressed shards. disk_work: of statistics, or of hidden states of an interruptible walk.
        memory_layer: the largest decoder layer in the compute dtype, twice (read and built).
        memory_hidden: hidden states of all calibration tokens on the host (twice when sequential).
        memory_batch: activations of a micro-batch and one expert.
        flops_statistics: the dense pass over all experts, down projections left out.
    """

    parameters_before: int
    parameters_after: int
    disk_output: int
    disk_work: int
    memory_layer: int
    memory_hidden: int
    memory_batch: int
    flops_statistics: float

    @property
    def memory(self) -> int:
        """Peak host memory without the libraries themselves (about 0.7 GB)."""
        return self.memory_layer + self.memory_hidden + self.memory_batch

    def rows(self) -> dict[str, str]:
        """For people."""
        share = self.parameters_after / self.parameters_before
        return {
            "parameters": f"{self.parameters_before:,} -> {self.parameters_after:,} ({share:.0%})",
            "disk, output": f"{self.disk_output / GIGA:.2f} GB",
            "disk, while it runs": f"{self.disk_work / GIGA:.2f} GB",
            "memory": f"{self.memory / GIGA:.2f} GB and about 0.7 GB for the libraries",
            "  one layer": f"{self.memory_layer / GIGA:.2f} GB",
            "  hidden states": f"{self.memory_hidden / GIGA:.2f} GB",
            "  micro-batch": f"{self.memory_batch / GIGA:.2f} GB",
            "arithmetic": f"{self.flops_statistics / 1e12:.2f} TFLOP in the dense pass over the experts",
        }


def expert_parameters(manifest: Manifest, experts: int) -> int:
    """Parameters of ``experts`` routed experts in every layer: gate, up and down, and the router's row."""
    return len(manifest.moe_layers) * experts * (3 * manifest.width + 1) * manifest.hidden


def estimate_run(
    manifest: Manifest,
    experts: int,
    sequences: int,
    tokens: int,
    probes: int,
    batch_tokens: int,
    sequential: bool,
    compute_bytes: int = 4,
) -> Estimate:
    """Estimate a compression to ``experts`` experts a layer.

    Args:
        manifest: of the original.
        experts: K.
        sequences: calibration sequences in all. tokens: of each.
        probes: S. batch_tokens: of a micro-batch.
        sequential: whether hidden states and MoE inputs are both kept.
        compute_bytes: of the compute dtype.
    """
    layers, hidden, width = len(manifest.moe_layers), manifest.hidden, manifest.width
    routed = expert_parameters(manifest, manifest.experts)
    gone = expert_parameters(manifest, manifest.experts - experts)
    stored = DTYPES[manifest.dtype].itemsize
    everything = sequences * tokens
    sums = 8 * manifest.experts * (2 * hidden + manifest.experts + 4)
    hidden_bytes = everything * hidden * compute_bytes
    other = (manifest.parameters - routed) // manifest.layers
    return Estimate(
        parameters_before=manifest.parameters,
        parameters_after=manifest.parameters - gone,
        disk_output=sum(manifest.shards.values()) - gone * stored,
        disk_work=2 * hidden_bytes if sequential else layers * (sums + probes * hidden * compute_bytes),
        memory_layer=2 * (routed // layers + other) * compute_bytes,
        memory_hidden=hidden_bytes * (2 if sequential else 1),
        memory_batch=batch_tokens * (6 * hidden + 4 * width) * compute_bytes,
        flops_statistics=4.0 * layers * manifest.experts * hidden * width * everything,
    )
