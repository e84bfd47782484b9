"""vLLM and llama.cpp compute what transformers computes, from a compressed checkpoint as from its original."""

import pytest

from tests.serving.checkpoints import CASES, NEW_TOKENS, PROMPTS, compressed, original, reference
from tests.serving.clients import missing, run
from tests.serving.results import AGREES, DIFFERS, LIMIT, NOT_RUN, REFUSED, RESULTS

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1800)]
INSTALLED = {"vllm": "vllm", "llama_cpp": "llama.cpp"}
COUNTS = (2, 3, 7)  # of 8 experts, beside those that every family is tested with; 2 are selected for each token


def largest_difference(ours: dict, theirs: dict) -> float:
    """The largest absolute difference of log-probabilities, in nats."""
    pairs = zip(ours["log_probabilities"], theirs["log_probabilities"], strict=True)
    return max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))


def skip_without(client):
    if reason := missing(INSTALLED[client]):
        pytest.skip(reason)


@pytest.mark.parametrize("client", INSTALLED)
@pytest.mark.parametrize("case", CASES)
def test_compressed_in_every_form_is_served_as_its_original_is(client, case, served, tmp_path, record_property):
    skip_without(client)
    result = RESULTS[client][case]
    if result.kind == NOT_RUN:
        pytest.skip(result.why)
    made = served(case)
    first, *forms = run(client, made.folders, tmp_path, PROMPTS, NEW_TOKENS, result.dtype)
    if result.kind == REFUSED:
        assert result.message
        assert all(result.message in answer.get("error", "") for answer in [first, *forms])
        return
    assert not [answer["error"] for answer in [first, *forms] if "error" in answer]
    assert all(largest_difference(form, forms[0]) < LIMIT / 10 for form in forms)
    assert all(form["greedy"] == forms[0]["greedy"] for form in forms)
    differences = [largest_difference(a, b) for a, b in zip([first, forms[0]], made.expected, strict=True)]
    record_property("differences", differences)
    if result.kind == AGREES:
        assert max(differences) < LIMIT
        assert [first["greedy"], forms[0]["greedy"]] == [answer["greedy"] for answer in made.expected]
    else:
        assert result.kind == DIFFERS
        assert min(differences) > LIMIT
        assert max(differences) < 10 * max(result.original, result.compressed)


@pytest.mark.parametrize("client", INSTALLED)
def test_any_number_of_experts_that_a_token_can_select_from_is_served(client, tmp_path):
    skip_without(client)
    source = original("qwen3_moe", tmp_path / "original")
    outs = [compressed(source, tmp_path / f"kept-{number}", "single file", number) for number in COUNTS]
    answers = run(client, outs, tmp_path / "work", PROMPTS, NEW_TOKENS)
    for answer, out in zip(answers, outs, strict=True):
        expected = reference(out)
        assert largest_difference(answer, expected) < LIMIT
        assert answer["greedy"] == expected["greedy"]


def test_llama_cpp_takes_a_maverick_for_a_scout_unless_it_has_128_experts(tmp_path, monkeypatch):
    """Maverick has no normalisation of queries and keys; docs/serving.md warns of this."""
    skip_without("llama_cpp")
    folders = []
    for number in (128, 100):
        values = CASES["llama4_text"][1] | {"use_qk_norm": False, "num_local_experts": number}
        monkeypatch.setitem(CASES, "maverick", ("llama4_text", values))
        folders.append(original("maverick", tmp_path / f"{number}"))
    answers = run("llama_cpp", folders, tmp_path / "work", PROMPTS, NEW_TOKENS)
    whole, fewer = (
        largest_difference(answer, reference(folder)) for answer, folder in zip(answers, folders, strict=True)
    )
    assert whole < LIMIT
    assert fewer > 0.1
