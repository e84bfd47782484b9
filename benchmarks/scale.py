"""What large models take on large machines, by `ream estimate`'s counts: `python -m benchmarks.scale`.

Prints the tables of docs/scale.md. Nothing is run: arithmetic, memory and disk are those of the estimate, from
config.json alone; seconds are operations and bytes divided by the rates of MACHINES, which are assumptions.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from ream.commands.request import Request, requested
from ream.commands.work import work_of
from ream.estimate.needs import Estimate, duration, estimate
from ream.models.inspection.headers import open_headers
from tests.models.published import MODELS

GIGA, TERA, PETA = 1e9, 1e12, 1e15
ROOT = Path(__file__).parents[1]
METHODS = "reap", "ream", "reap-refit", "best", "best-fit"
# Model to preset and experts kept: three quarters of them.
CASES = {
    "Qwen3-30B-A3B": ("qwen3-30b-a3b", 96),
    "GLM-4.5-Air": ("glm-4.5-air", 96),
    "Qwen3-Coder-480B-A35B": ("qwen3-coder-480b-fp8", 120),
    "DeepSeek-V3": ("kimi-k2-w4a16", 192),
    "Kimi-K2": ("kimi-k2-w4a16", 288),
}
MIXES = 10
# From its config.json; 671 billion parameters without the multi-token layer.
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "torch_dtype": "bfloat16", "num_hidden_layers": 61, "hidden_size": 7168,
    "vocab_size": 129280, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "intermediate_size": 18432,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "n_group": 8, "topk_group": 4, "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
    "quantization_config": {
        "quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """A machine by its rates.

    Attributes:
        name: for people.
        device: where layers compute.
        dtype: in which they compute.
        compute: floating-point operations a second in that dtype, of all devices together.
        double: the same in float64.
        assignment: steps of assignment problems a second, of all cores together.
        reading: bytes a second from the disk.
        writing: bytes a second to the disk.
        ranks: processes that share the tokens; each reads every layer, from the page cache after the first.
    """

    name: str
    device: str
    dtype: torch.dtype
    compute: float
    double: float
    assignment: float
    reading: float
    writing: float
    ranks: int = 1


# 64 cores at 70% of the 93 GFLOP/s of one core here; an H200 at 60% of its 989 TFLOP/s of dense bfloat16 and half of
# its 67 TFLOP/s of float64; assignments at the 10 billion steps a second of one core here for 768 neurons.
MACHINES = (
    Machine("CPU node, 64 cores", "cpu", torch.float32, 4.2 * TERA, 2.1 * TERA, 64e10, 3 * GIGA, 2 * GIGA),
    Machine("one H200", "cuda", torch.bfloat16, 593 * TERA, 33 * TERA, 16e10, 6 * GIGA, 4 * GIGA),
    Machine("eight H200", "cuda", torch.bfloat16, 8 * 593 * TERA, 33 * TERA, 64e10, 6 * GIGA, 4 * GIGA, ranks=8),
)


def parts(needs: Estimate, machine: Machine) -> dict[str, float]:
    """Seconds of each part of a compression; they are added, though reading and writing overlap with the rest."""
    flops = needs.flops
    return {
        "products": flops.compute / machine.compute,
        "float64": (flops.double + flops.solving) / machine.double,
        "assignment": flops.assignment / machine.assignment,
        "reading": 2 * needs.bytes_before / machine.reading,  # by the walk, then for the output
        "writing": needs.bytes_after / machine.writing,
    }


def estimated(model: str, method: str, machine: Machine) -> Estimate:
    """The estimate of one model by one method at the paper's 3072 sequences of 512 tokens, balanced."""
    preset, experts = CASES[model]
    with tempfile.TemporaryDirectory() as folder:
        config = DEEPSEEK_V3 if model == "DeepSeek-V3" else MODELS[model].config
        (Path(folder) / "config.json").write_text(json.dumps(config))
        request = Request(model=folder, out=Path(folder) / "out", experts=experts, method=method, group_size=experts)
        params, mix = requested(request, ROOT / "params" / f"{preset}.yaml")
        headers = open_headers(folder)
        return estimate(headers, work_of(params, mix, method, experts, torch.device(machine.device), machine.dtype))


def main() -> None:
    """Print one row a model and method, then the same for a grid of ten mixes."""
    print("| model | method | arithmetic | memory, CPU | on the GPU | disk | "
          + " | ".join(f"{machine.name}, longest part" for machine in MACHINES) + " |")  # fmt: skip
    print("| " + " | ".join(["---"] * (6 + len(MACHINES))) + " |")
    grids = []
    for model in CASES:
        for method in METHODS:
            needs = {machine.name: estimated(model, method, machine) for machine in MACHINES}
            on_cpu, on_gpu = needs[MACHINES[0].name], needs[MACHINES[1].name]
            times = {machine.name: parts(needs[machine.name], machine) for machine in MACHINES}
            sizes = [on_cpu.host, on_gpu.device, on_cpu.needs.disk]
            row = [model, f"`{method}`", f"{on_cpu.flops.total / PETA:,.0f} PFLOP"]
            row += [f"{size / GIGA:,.0f} GB" for size in sizes]
            row += [f"{duration(sum(time.values()))}, {max(time, key=time.__getitem__)}" for time in times.values()]
            print(f"| {' | '.join(row)} |", flush=True)
            grids.append((model, method, on_cpu.work.sequential, times))
    print()
    print("| model | method | one H200, a mix after the other | four nodes of eight H200 |")
    print("| --- | --- | --- | --- |")
    for model, method, sequential, times in grids:
        one = times["one H200"]
        walk = one["products"] + one["reading"] / 2
        rest = sum(one.values()) - walk
        # Sequential methods walk once a mix, one process a GPU; one-shot methods walk once for all mixes, and the three
        # sources' walks are shared by the 32 GPUs. The rest, output among it, is made for each mix.
        alone = MIXES * sum(one.values()) if sequential else 3 * walk + MIXES * rest
        nodes = sum(one.values()) if sequential else 3 * one["products"] / 32 + one["reading"] / 2 + rest
        print(f"| {model} | `{method}` | {duration(alone)} | {duration(nodes)} |")


if __name__ == "__main__":
    main()
