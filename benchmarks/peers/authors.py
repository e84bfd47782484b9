"""REAM by its authors' code: `python authors.py CHECKOUT MODEL TOKENS.parquet EXPERTS THREADS`.

CHECKOUT is a folder with a checkout of https://github.com/SamsungSAILMontreal/ream. Their `Merger` runs as `merge.py`
runs it, sequentially and with their settings, on the sequences of the Parquet file. It prints a lot, and at last one
line of JSON: processor seconds of the fit alone, without imports, loading and saving.
"""

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

NAME, SEED = "qwen3", 42  # parts of the name of the file that their code reads its tokens from


def main() -> None:
    """Load the model, merge its experts on the tokens, print the seconds."""
    checkout, model_path, tokens, experts, threads = sys.argv[1:6]
    sys.path.insert(0, checkout)
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(threads))
    merger_type = importlib.import_module("ream").Merger  # of the checkout, not of this repository
    ids = torch.tensor(pq.read_table(tokens)["input_ids"].to_pylist())
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        path = Path(f"data/own_b{len(ids)}_seq{ids.shape[1]}_{NAME}_seed{SEED}.pt")
        path.parent.mkdir()
        torch.save({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, path)
        merger = merger_type(
            model,
            merge_size=int(experts),
            dataset="own",
            mix_ratio="1.0",
            tokenizer_name=NAME,
            calibration_data_size=len(ids),
            calibration_data_seq_len=ids.shape[1],
            seed=SEED,
            verbose=False,
        )
        began = time.process_time()
        merger.fit()
        seconds = time.process_time() - began
        os.chdir(checkout)
    print(json.dumps({"cpu_seconds": seconds, "experts": model.config.num_experts}))


if __name__ == "__main__":
    main()
