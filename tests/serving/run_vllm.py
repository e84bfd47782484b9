"""Runs in the environment of vLLM: loads checkpoints one after the other and writes what they compute.

Called as: python run_vllm.py JOB RESULTS, where JOB is JSON with folders, prompts, new_tokens and dtype. RESULTS is
written again after every checkpoint, so that those before a checkpoint that ends the process are known.
"""

import gc
import json
import os
import sys
from pathlib import Path

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # errors of the engine end this process, with their own message
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB


def computed(folder, prompts, new_tokens, dtype):
    """Log-probabilities of each prompt's tokens but the first, and greedy tokens after it."""
    from vllm import LLM, SamplingParams

    model = LLM(
        model=folder, dtype=dtype, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64, seed=0,
        disable_log_stats=True, enable_prefix_caching=False, max_num_seqs=4, limit_mm_per_prompt={"image": 0},
    )  # fmt: skip
    settings = SamplingParams(
        temperature=0, max_tokens=new_tokens, prompt_logprobs=0, ignore_eos=True, detokenize=False
    )
    answers = model.generate([{"prompt_token_ids": prompt} for prompt in prompts], settings, use_tqdm=False)
    scores = [
        [
            rank[token].logprob
            for token, rank in zip(answer.prompt_token_ids[1:], answer.prompt_logprobs[1:], strict=True)
        ]
        for answer in answers
    ]
    del model
    gc.collect()
    return {"log_probabilities": scores, "greedy": [list(answer.outputs[0].token_ids) for answer in answers]}


def main(job, results):
    given, done = json.loads(Path(job).read_text()), {}
    for folder in given["folders"]:
        done[folder] = computed(folder, given["prompts"], given["new_tokens"], given["dtype"])
        Path(results).write_text(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
