"""Runs in the environment of llama.cpp: converts checkpoints, loads them and writes what they compute.

Called as: python run_llama_cpp.py JOB RESULTS, as run_vllm.py is; the job also has the converter's script and the dtype
of the GGUF file, which is written beside the checkpoint's folder. What is a file already is not converted. The cache of
keys and values is in float32.
"""

import json
import sys
from pathlib import Path

import numpy as np
from convert import convert
from llama_cpp import GGML_TYPE_F32, Llama


def computed(path, prompts, new_tokens):
    """Log-probabilities of each prompt's tokens but the first, and greedy tokens after it."""
    model = Llama(
        path, n_ctx=64, n_batch=64, n_threads=1, n_threads_batch=1, logits_all=True, verbose=True,
        type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, flash_attn=False,
    )  # fmt: skip
    found = {"log_probabilities": [], "greedy": []}
    for prompt in prompts:
        model.reset()
        model.eval(prompt)
        logits = model.scores[: len(prompt)].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        found["log_probabilities"].append([scores[i, token] for i, token in enumerate(prompt[1:])])
        tokens = list(prompt)
        for _ in range(new_tokens):
            tokens.append(int(model.scores[len(tokens) - 1].argmax()))
            model.eval(tokens[-1:])
        found["greedy"].append(tokens[len(prompt) :])
    return found


def main(job, results):
    given, done = json.loads(Path(job).read_text()), {}
    for name in given["folders"]:
        path = Path(name)
        if path.is_dir():
            path = path.with_name(f"{path.name}.gguf")
            convert("qwen2", given["converter"], name, "--outfile", str(path), "--outtype", given["dtype"])
        done[name] = computed(str(path), given["prompts"], given["new_tokens"])
        Path(results).write_text(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
