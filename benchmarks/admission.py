"""Seconds that the door takes for a checkpoint of 20,000 tensors: `python -m benchmarks.admission [TENSORS]`.

The checkpoint is Qwen3-30B-A3B's config, repeated over more layers if more tensors are asked for, with headers of the
right names and shapes, whose data are holes of sparse files. Times are of one core; each step runs in a process of its
own, as a command would.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = {
    "model_type": "qwen3_moe", "dtype": "bfloat16", "num_hidden_layers": 48, "hidden_size": 2048, "vocab_size": 151936,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
    "moe_intermediate_size": 768, "intermediate_size": 6144, "tie_word_embeddings": False,
}  # fmt: skip
PER_LAYER, SHARDS = 3 * 128 + 9, 16
ADMIT = """
from pathlib import Path
from ream.models.inspection.admission import admit
from ream.models.storage.shard_source import LocalShards
admit(LocalShards(Path(FOLDER)), against_code={})
"""
STEPS = {
    "headers alone": ADMIT.format(False),
    "and the modelling code": ADMIT.format(True),
    "of which imports": "import torch\nfrom transformers import AutoModel, Qwen3MoeForCausalLM",
}


def build(folder: Path, tensors: int) -> int:
    """Write a checkpoint of at least that many tensors, and return their number."""
    from ream.models.inspection.planned import PlannedCheckpoint

    config = CONFIG | {"num_hidden_layers": max(1, -(-tensors // PER_LAYER))}
    (folder / "config.json").write_text(json.dumps(config))
    planned = PlannedCheckpoint(folder)
    names, weight_map = list(planned.tensors), {}
    for number in range(SHARDS):
        header, end = {}, 0
        for name in names[number::SHARDS]:
            info = planned.tensors[name]
            header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [end, end + info.bytes]}
            end += info.bytes
            weight_map[name] = f"model-{number:05}.safetensors"
        raw = json.dumps(header).encode()
        path = folder / f"model-{number:05}.safetensors"
        path.write_bytes(len(raw).to_bytes(8, "little") + raw)
        os.truncate(path, 8 + len(raw) + end)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return len(names)


def seconds(code: str) -> float:
    """Processor time of a fresh Python that runs some code."""
    process = subprocess.Popen([sys.executable, "-c", code])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the least of three runs of each step."""
    with tempfile.TemporaryDirectory() as folder:
        count = build(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
        print(f"{count:,} tensors; seconds of one core, least of three")
        for step, code in STEPS.items():
            print(f"{step:<24} {min(seconds(code.replace('FOLDER', repr(folder))) for _ in range(3)):.2f}")


if __name__ == "__main__":
    main()
