"""What each client does with each family's original and compressed checkpoint, as data: measured, and held by tests."""

from dataclasses import dataclass

AGREES, DIFFERS, REFUSED, NOT_RUN = "agrees", "differs", "refused", "not run"
LIMIT = 2e-4  # nats: log-probabilities closer than this agree
VERSIONS = {"vllm": "vLLM 0.32.0 on CPUs", "llama_cpp": "llama.cpp 0.5.0"}


@dataclass(frozen=True)
class Result:
    """A client's result on a family.

    Attributes:
        kind: ``agrees``: all log-probabilities of prompts are within LIMIT of transformers', and greedy tokens are the
            same. ``differs``: it loads, but some log-probability is not. ``refused``: it does not load. ``not run``:
            the environment lacks what the client needs for it.
        original: largest difference of the original's log-probabilities from transformers', in nats, as measured.
        compressed: the same of the compressed checkpoint.
        why: the reason, as far as it is known; empty for ``agrees``.
        message: ``refused``: a part of the line with which the client ends.
        dtype: that the client computes in, by its own name; empty: float32. Transformers computes in float32 always.
    """

    kind: str
    original: float = 0.0
    compressed: float = 0.0
    why: str = ""
    message: str = ""
    dtype: str = ""


ROUNDED_RAMP = "llama.cpp rounds the bounds of YaRN's ramp, gpt-oss does not; with rounded bounds the original agrees"
GROUPS = "llama.cpp does not limit the selection to router groups for softmax routers"
BIAS = "vLLM's CPU build leaves out the router's correction bias; with a bias of 0 the original agrees"
LATENT = "attention with latent keys (MLA) in vLLM's CPU build; the cause was not found"
SIGMOID = "vLLM's CPU router takes sigmoid scores only with router groups"
BFLOAT16 = "vLLM's CPU kernel for linear attention runs in bfloat16 only, in which transformers differs as much"
VISION = "needs torchvision, of whose builds PyPI has none for a torch without CUDA"
RESULTS: dict[str, dict[str, Result]] = {
    "vllm": {
        "qwen3_moe": Result(AGREES, 6.7e-6, 6.2e-6),
        "qwen2_moe": Result(AGREES, 9.6e-6, 7.7e-6),
        "qwen3_next": Result(DIFFERS, 0.76, 0.90, BFLOAT16, dtype="bfloat16"),
        "qwen3_5_moe_text": Result(NOT_RUN, why=VISION),
        "qwen3_5_moe": Result(NOT_RUN, why=VISION),
        "glm4_moe": Result(AGREES, 1.1e-5, 7.7e-6),
        "deepseek_v3": Result(DIFFERS, 4.3, 4.0, LATENT),
        "kimi_k2": Result(DIFFERS, 4.8, 5.1, LATENT),
        "deepseek_v2": Result(DIFFERS, 4.9, 4.8, LATENT),
        "ernie4_5_moe": Result(DIFFERS, 2.6, 0.84, BIAS),
        "mixtral": Result(AGREES, 2.0e-5, 3.0e-5),
        "minimax_m2": Result(REFUSED, why=SIGMOID, message="AssertionError"),
        "olmoe": Result(AGREES, 1.6e-5, 4.8e-6),
        "gpt_oss": Result(AGREES, 3.5e-5, 3.7e-5),
        "llama4_text": Result(AGREES, 1.1e-5, 7.7e-6),
        "llama4": Result(NOT_RUN, why=VISION),
        "deepseek_v2 with 1 router group": Result(DIFFERS, 5.2, 4.6, LATENT),
    },
    "llama_cpp": {
        "qwen3_moe": Result(AGREES, 5.8e-6, 5.9e-6),
        "qwen2_moe": Result(AGREES, 1.5e-5, 1.3e-5),
        "qwen3_next": Result(AGREES, 4.2e-5, 9.2e-5),
        "qwen3_5_moe_text": Result(AGREES, 9.5e-5, 2.8e-5),
        "qwen3_5_moe": Result(AGREES, 3.1e-5, 3.1e-5),
        "glm4_moe": Result(AGREES, 9.3e-6, 9.5e-6),
        "deepseek_v3": Result(AGREES, 2.2e-5, 1.9e-5),
        "kimi_k2": Result(AGREES, 2.3e-5, 3.4e-5),
        "deepseek_v2": Result(DIFFERS, 0.73, 0.68, GROUPS),
        "ernie4_5_moe": Result(AGREES, 2.1e-5, 3.6e-5),
        "mixtral": Result(AGREES, 3.2e-5, 2.6e-5),
        "minimax_m2": Result(AGREES, 6.4e-6, 3.8e-6),
        "olmoe": Result(AGREES, 7.5e-6, 5.1e-6),
        "gpt_oss": Result(DIFFERS, 0.044, 0.052, ROUNDED_RAMP),
        "llama4_text": Result(AGREES, 1.5e-5, 1.1e-5),
        "llama4": Result(AGREES, 8.6e-6, 1.5e-5),
        "deepseek_v2 with 1 router group": Result(AGREES, 2.6e-5, 2.3e-5),
    },
}
