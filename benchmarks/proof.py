"""How long the proof of a derived family takes on a large checkpoint: `ream inspect`, with a cold and a warm cache.

    python -m benchmarks.proof [--model-type dots1] [--layers 24] [--experts 128] [--hidden 1024] [--width 336]

The checkpoint has random bfloat16 weights, as transformers writes them, in shards of about 1.5 GB; by default 7 GB. It
is removed at the end. The seconds of the proof are those that `ream inspect` prints; the others, of the whole process
with its imports, are wall and processor seconds. The page cache can be emptied by root alone.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")
HEADS, DENSE = 8, 2048
PROOF = re.compile(r"layer \d+, \d+ experts:.*?; ([\d.]+) s", re.DOTALL)


def write(folder: Path, given: argparse.Namespace) -> float:
    """Write the checkpoint; returns its size in GB."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[given.model_type](
        num_hidden_layers=given.layers,
        hidden_size=given.hidden,
        intermediate_size=DENSE,
        moe_intermediate_size=given.width,
        n_routed_experts=given.experts,
        num_experts_per_tok=8,
        n_shared_experts=1,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        vocab_size=32_000,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="1500MB")
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9


def main() -> None:
    """Write the checkpoint, inspect it three times, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-type", default="dots1")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--experts", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--width", type=int, default=336)
    parser.add_argument("--folder", type=Path, help="where the checkpoint is written; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        print(f"{given.model_type}, {write(Path(name), given):.2f} GB", flush=True)
        for cold in (True, False, False):
            cold = cold and emptied()
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            said = subprocess.run(
                [sys.executable, "-m", "ream", "inspect", name], check=True, capture_output=True, text=True
            ).stdout
            wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found = PROOF.search(said)
            proof = f"proof {found[1]} s" if found else "no proof"
            print(
                f"{'cold' if cold else 'warm'} cache: {wall:.1f} s, {used:.1f} s of processor time; {proof}", flush=True
            )


def emptied() -> bool:
    """Empty the page cache; whether that was allowed."""
    subprocess.run(["sync"], check=True)
    try:
        DROP.write_text("3")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
