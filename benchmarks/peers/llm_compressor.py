"""REAP by llm-compressor: `python llm_compressor.py MODEL TOKENS.parquet EXPERTS THREADS`, in its own environment.

Prints one line of JSON: processor seconds of the fit alone, without imports, loading and saving, and the experts that
it keeps in each layer.
"""

import json
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Load the model, prune it on the tokens, print seconds and kept experts."""
    model_path, tokens, experts, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import REAPPruningModifier
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    rows = Dataset.from_parquet(tokens, cache_dir=tempfile.mkdtemp()).select_columns(["input_ids"])
    rows = rows.map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})
    report = Path(tempfile.mkdtemp()) / "kept.json"
    recipe = REAPPruningModifier(sparsity=1 - experts / model.config.num_experts, report_path=str(report))
    began = time.process_time()
    oneshot(
        model=model,
        dataset=rows,
        recipe=recipe,
        num_calibration_samples=len(rows),
        max_seq_length=len(rows[0]["input_ids"]),
        shuffle_calibration_samples=False,
        moe_calibrate_all_experts=False,
    )
    seconds = time.process_time() - began
    print(json.dumps({"cpu_seconds": seconds, "kept": list(json.loads(report.read_text()).values())}))


if __name__ == "__main__":
    main()
