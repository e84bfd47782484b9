import pytest
import torch
import transformers
from lm_eval.api.instance import Instance

from ream.evaluation.shared_context import PLAIN_ATTENTION, SharedContextLM
from tests.evaluation.conftest import VOCABULARY, randomize, tiny_config

SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "num_experts_per_tok": 2,
    "max_position_embeddings": 512, "eos_token_id": 256, "pad_token_id": 256, "bos_token_id": None,
}  # fmt: skip
CONFIGS = {
    "deepseek_v3": lambda: transformers.DeepseekV3Config(
        **SHAPE, n_routed_experts=4, n_group=1, topk_group=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
        qk_nope_head_dim=4, v_head_dim=8, first_k_dense_replace=1,
    ),
    "ernie4_5_moe": lambda: transformers.Ernie4_5_MoeConfig(**SHAPE, moe_num_experts=4, moe_k=2),
    "glm4_moe": lambda: transformers.Glm4MoeConfig(**SHAPE, n_routed_experts=4, head_dim=8, first_k_dense_replace=1),
    "mixtral": lambda: transformers.MixtralConfig(**SHAPE, num_local_experts=4),
    "olmoe": lambda: transformers.OlmoeConfig(**SHAPE, num_experts=4),
    "qwen3_moe": tiny_config,
}  # fmt: skip


def letters(rng, count):
    return "".join(chr(97 + letter) for letter in rng.integers(26, size=count))


def requests(rng, contexts=7, longest=30):
    """For each context four continuations of one to eight random letters."""
    pairs = []
    for _ in range(contexts):
        context = letters(rng, rng.integers(1, longest))
        pairs += [(context, letters(rng, rng.integers(1, 9))) for _ in range(4)]
    return [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]


def values(answers):
    return [value for value, _ in answers], [greedy for _, greedy in answers]


def test_every_listed_family_is_tested():
    assert set(CONFIGS) == PLAIN_ATTENTION


@pytest.mark.parametrize(("family", "attention"), [*((f, "sdpa") for f in sorted(CONFIGS)), ("qwen3_moe", "eager")])
def test_scores_equal_those_of_lm_eval(family, attention, tokenizer, rng):
    config = CONFIGS[family]()
    model = randomize(transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention))
    lm = SharedContextLM(model, tokenizer, batch_size=8, max_length=None)
    asked = requests(rng)
    assert lm._shares
    shared, shared_greedy = values(lm.loglikelihood(asked, disable_tqdm=True))
    lm._shares = False
    plain, plain_greedy = values(lm.loglikelihood(asked, disable_tqdm=True))
    assert shared == pytest.approx(plain, abs=2e-4)
    assert shared_greedy == plain_greedy


def test_the_batch_changes_nothing(model, tokenizer, rng):
    asked = requests(rng)
    one_at_a_time, _ = values(SharedContextLM(model, tokenizer, 1, None).loglikelihood(asked, disable_tqdm=True))
    all_at_once, _ = values(SharedContextLM(model, tokenizer, 64, None).loglikelihood(asked, disable_tqdm=True))
    assert one_at_a_time == pytest.approx(all_at_once, abs=2e-4)


def test_the_greedy_continuation_is_known_as_such(model, tokenizer):
    ids = torch.tensor([tokenizer.encode("abcdef")])
    for _ in range(3):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    best = ids[0, 6:].tolist()
    lm = SharedContextLM(model, tokenizer, 8, None)
    other = [*best[:2], (best[2] + 1) % 250]
    answers = lm._loglikelihood_tokens([(("", ""), ids[0, :6].tolist(), tokens) for tokens in (best, other)])
    assert [greedy for _, greedy in answers] == [True, False]


def test_rows_longer_than_the_context_take_the_plain_path(model, tokenizer, rng, monkeypatch):
    # a row holds the context and all continuations without their last tokens
    long, short = [("ab", letters(rng, 8)) for _ in range(4)], [("c", letters(rng, 3)) for _ in range(4)]
    asked = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate([*long, *short])]
    lm = SharedContextLM(model, tokenizer, 8, max_length=12)
    score, lengths = lm._score, []

    def watched(rows):
        lengths.extend(len(row.tokens) for row in rows)
        return score(rows)

    monkeypatch.setattr(lm, "_score", watched)
    bounded, _ = values(lm.loglikelihood(asked, disable_tqdm=True))
    assert lengths == [1 + 4 * 2]  # and not 2 + 4 * 7
    unbounded = SharedContextLM(model, tokenizer, 8, None)
    assert bounded == pytest.approx(values(unbounded.loglikelihood(asked, disable_tqdm=True))[0], abs=2e-4)


@pytest.mark.parametrize("change", [{"use_sliding_window": True, "sliding_window": 8}, {"model_type": "qwen3_next"}])
def test_other_attention_is_not_shared(change, tokenizer):
    config = tiny_config(**{key: value for key, value in change.items() if key != "model_type"})
    model = transformers.Qwen3MoeForCausalLM(config).eval()
    model.config.model_type = change.get("model_type", "qwen3_moe")
    assert not SharedContextLM(model, tokenizer, 8, None)._shares
