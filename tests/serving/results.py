"""What each client does with each family's original and compressed checkpoint, as data: measured, and held by tests."""

from dataclasses import dataclass

AGREES, DIFFERS, REFUSED = "agrees", "differs", "refused"
LIMIT = 1e-4  # nats: log-probabilities closer than this agree
VERSIONS = {"vllm": "vLLM 0.32.0 on CPUs", "llama_cpp": "llama.cpp 0.5.0"}


@dataclass(frozen=True)
class Result:
    """A client's result on a family.

    Attributes:
        kind: ``agrees``: all log-probabilities of prompts are within LIMIT of transformers', and greedy tokens are the
            same. ``differs``: it loads, but some log-probability is not. ``refused``: it does not load.
        original: largest difference of the original's log-probabilities from transformers', in nats, as measured.
        compressed: the same of the compressed checkpoint.
        why: ``refused``: part of the client's message. ``differs``: the reason as far as it is known.
    """

    kind: str
    original: float = 0.0
    compressed: float = 0.0
    why: str = ""


RESULTS: dict[str, dict[str, Result]] = {
    "vllm": {
        "qwen3_moe": Result(AGREES, 6.7e-6, 6.2e-6),
    },
    "llama_cpp": {},
}
