"""The backend endpoint against a real server: the numbers of the backend hf, and one line for a fault."""

import json
from types import SimpleNamespace

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

from ream import params
from ream.errors import UserError
from ream.evaluation.backends.client import KEY, Client, StatusError
from ream.evaluation.backends.connection import TRIED, Connection, connected
from ream.evaluation.backends.endpoint_lm import EndpointLM
from ream.evaluation.harness import Harness
from ream.evaluation.shared_context import SharedContextLM
from ream.evaluation.store import ResultStore
from ream.params.endpoint import Endpoint
from tests.evaluation.served import KEY as GIVEN
from tests.evaluation.served import NAME, Served, serving
from tests.evaluation.test_answers import stored
from tests.evaluation.test_shared_context import requests, values
from tests.tiny import ROOT

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if quiet %} Answer briefly.{% endif %}"
ASKS = "task 'demo_prose'"


@pytest.fixture
def served(model, tokenizer):
    """A server, running."""
    server = Served(model, tokenizer)
    with serving(server) as server.url:
        yield server


@pytest.fixture
def client(served):
    """A function that makes a client of the server; its pauses are in ``pauses``."""

    def made(**changes):
        pauses = []
        endpoint = Endpoint(**({"base_url": served.url, "model": NAME, "concurrency": 4, "retries": 2} | changes))
        found = Client(endpoint, pauses.append)
        found.pauses = pauses
        return found

    return made


def plain(tokenizer):
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def tried(client, tokenizer, likelihoods=ASKS, suite=None):
    return connected(client, suite or params.Suite(mc=["demo_prose"]), likelihoods, plain(tokenizer), 512)


def lm_of(client, tokenizer, max_length=512, **chat):
    return EndpointLM(Connection(client, max_length), tokenizer, None, 1234, None, chat)


def settings(served, **changes):
    endpoint = {"base_url": served.url, "model": NAME, "concurrency": 3} | changes
    return params.Evaluation(
        suite="x", backend="endpoint", endpoint=endpoint, include=str(ROOT / "data" / "tasks"), batch_size=8
    )


def test_scores_and_answers_are_those_of_hf(served, client, model, tokenizer, number_items, tmp_path):
    suite = params.Suite(mc=["demo_result"], gen=["demo_solution"], limit=6)
    found = {}
    for backend, evaluation, asked in (
        ("hf", settings(served).model_copy(update={"backend": "hf"}), model),
        ("endpoint", settings(served), tried(client(), tokenizer)),
    ):
        store = ResultStore(tmp_path / backend, "m")
        scores = Harness(suite, evaluation, number_items).score(asked, tokenizer, store)
        found[backend] = scores, [stored(tmp_path / backend, task) for task in ("demo_result", "demo_solution")]
    (hf, (hf_choices, hf_texts)), (served_scores, (choices, texts)) = found["hf"], found["endpoint"]
    for task, score in hf["tasks"].items():
        assert [served_scores["tasks"][task][key] for key in ("value", "counts", "items")] == [
            score[key] for key in ("value", "counts", "items")
        ]
    assert texts == hf_texts
    assert len({row["answer"] for row in texts}) > 1
    for row, expected in zip(choices, hf_choices, strict=True):
        assert json.loads(row["answer"]) == pytest.approx(json.loads(expected["answer"]), abs=1e-4)
        assert (row["prompt_hash"], row["parsed"]) == (expected["prompt_hash"], expected["parsed"])
    assert served_scores["tasks"]["demo_result"]["settings"]["endpoint"] == {
        "base_url": served.url, "model": NAME, "api": "completions"
    }  # fmt: skip


def test_likelihoods_and_greedy_answers_are_lm_evals_own(served, client, model, tokenizer, rng):
    asked = requests(rng, contexts=3)
    contexts = [letter * length for letter in "abcdefgh" for length in range(1, 9)]
    likeliest = [served.generated(tokenizer.encode(context), 1, [])[0][0] for context in contexts]
    pairs = [(context, tokenizer.decode(best)) for context, best in zip(contexts, likeliest, strict=True) if best < 128]
    asked += [Instance("loglikelihood", {}, pair, 0) for pair in pairs[:4]]
    hf = SharedContextLM(model, tokenizer, 8, None)
    expected, greedy = values(hf.loglikelihood(asked, disable_tqdm=True))
    found, found_greedy = values(lm_of(client(), tokenizer).loglikelihood(asked, disable_tqdm=True))
    assert found == pytest.approx(expected, abs=1e-4)
    assert found_greedy == greedy
    assert any(greedy)
    rolling = [Instance("loglikelihood_rolling", {}, ("abcdefghijklmnopqrstuvwxyz" * 2,), 0)]
    expected = SharedContextLM(model, tokenizer, 8, 12).loglikelihood_rolling(rolling, disable_tqdm=True)
    found = lm_of(client(), tokenizer, 14).loglikelihood_rolling(rolling, disable_tqdm=True)
    assert found == pytest.approx(expected, abs=1e-3)


def test_requests_have_the_form_of_lm_evals_own(served, client, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE, raising=False)
    theirs = SimpleNamespace(model=NAME, _max_gen_toks=256)
    options = {"until": ["\n", "Q:"], "max_gen_toks": 3, "temperature": 0.5, "do_sample": True, "top_p": 0.5}
    lm_of(client(), tokenizer).generate_until([Instance("generate_until", {}, ("abc", dict(options)), 0)])
    expected = LocalCompletionsAPI._create_payload(
        theirs, tokenizer.encode("abc"), generate=True, gen_kwargs=dict(options, until=["\n", "Q:"]), eos="<end>"
    )
    assert served.asked.pop() == ("/v1/completions", expected)
    lm_of(client(), tokenizer).likelihoods([([65, 66], [67])])
    assert served.asked.pop()[1] == LocalCompletionsAPI._create_payload(theirs, [65, 66, 67])
    lm = lm_of(client(api="chat"), tokenizer)
    messages = [{"role": "user", "content": "abc"}]
    prompt = lm.apply_chat_template(messages)
    lm.generate_until([Instance("generate_until", {}, (prompt, dict(options)), 0)])
    expected = LocalChatCompletion._create_payload(
        theirs, messages, gen_kwargs=dict(options, until=["\n", "Q:"]), eos="<end>"
    )
    assert served.asked.pop() == ("/v1/chat/completions", expected)


def test_a_chat_is_rendered_here_or_there_alike(served, client, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", TEMPLATE, raising=False)
    texts, options = [], {"until": ["\n"], "max_gen_toks": 8}
    for api in ("completions", "chat"):
        lm = lm_of(client(api=api), tokenizer, chat_template_args={"quiet": True})
        prompt = lm.apply_chat_template([{"role": "user", "content": "What is 1 + 1?"}])
        texts += lm.generate_until([Instance("generate_until", {}, (prompt, dict(options)), 0)])
        generated = lm.recorder.take(prompt, texts[-1])
        assert generated is not None
        assert generated.tokens <= 8
    assert texts[0] == texts[1]
    assert texts[0]
    assert served.asked[-1][1]["chat_template_kwargs"] == {"quiet": True}


def test_a_server_that_keeps_thinking_apart(client, tokenizer, served):
    def answer(handler):
        message = {"content": "4", "reasoning_content": "2 and 2"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        handler.give(200, {"choices": [choice], "usage": {"completion_tokens": 7}})

    served.faults.append(answer)
    lm = lm_of(client(api="chat"), tokenizer, think_end_token="</think>")
    prompt = lm.apply_chat_template([{"role": "user", "content": "2 + 2"}])
    assert lm.generate_until([Instance("generate_until", {}, (prompt, {"until": ["\n"]}), 0)]) == ["4"]
    assert served.asked[-1][1]["stop"] == ["<end>"]
    generated = lm.recorder.take(prompt, "4")
    assert (generated.tokens, generated.cut, generated.thought) == (7, False, True)


def test_prompts_beyond_the_servers_context_are_cut_and_recorded(served, client, tokenizer):
    served.length = 24
    connection = tried(client(), tokenizer)
    assert connection.max_length == 24
    lm = EndpointLM(connection, tokenizer, None, 1234, None, {})
    asked = [Instance("generate_until", {}, (prompt, {"until": [], "max_gen_toks": 4}), 0)
             for prompt in ("x" * 20, "y" * 21)]  # fmt: skip
    lm.generate_until(asked)
    assert sorted(len(payload["prompt"]) for _, payload in served.asked[-2:]) == [20, 20]
    assert [lm.recorder.truncated(each.args) for each in asked] == [False, True]
    asked = [Instance("loglikelihood", {}, ("x" * length, "b"), 0) for length in (22, 23)]
    lm.loglikelihood(asked, disable_tqdm=True)
    assert [lm.recorder.truncated(each.args) for each in asked] == [False, True]


def refusal(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in words), line
    return line


def test_a_server_with_a_key(served, client, tokenizer, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    served.key = GIVEN
    refusal(lambda: tried(client(), tokenizer), "answers 401", f"wants a key; put it into {KEY}")
    monkeypatch.setenv(KEY, "a-wrong-key")
    line = refusal(lambda: tried(client(), tokenizer), f"refuses the key in {KEY}", "Bearer ***")
    assert "a-wrong-key" not in line
    monkeypatch.setenv(KEY, GIVEN)
    connection = tried(client(), tokenizer)
    assert GIVEN not in repr(connection.endpoint.model_dump())


def test_wrong_addresses_and_names(served, client, tokenizer):
    refusal(lambda: tried(client(model="serve-model"), tokenizer), f"'serve-model' is unknown; did you mean '{NAME}'?")
    nowhere = client(base_url="http://127.0.0.1:9/v1", retries=1)
    refusal(lambda: tried(nowhere, tokenizer), "cannot be reached in 2 attempts (Connection refused)")
    assert nowhere.pauses == [1.0]
    below = client(base_url=served.url.removesuffix("/v1"))
    refusal(lambda: tried(below, tokenizer), "answers 404", "correct base_url, which ends as in")
    unknown_host = client(base_url="http://no-such-host.invalid/v1")
    refusal(lambda: tried(unknown_host, tokenizer), "cannot be reached", "correct base_url")
    assert unknown_host.pauses == [], "another attempt would not help"
    served.faults.append((200, "<html>welcome</html>", None, "text/html"))
    refusal(lambda: tried(client(), tokenizer), "answers, but not with JSON (text/html)")
    served.faults.append((200, {"answer": 42}))
    refusal(lambda: tried(client(), tokenizer), "answers without choices")


def test_what_may_pass_is_tried_again(served, client, tokenizer):
    busy, broken = (429, {"error": {"message": "slow down"}}, {"Retry-After": "7"}), (500, {"detail": "worker died"})
    served.faults += [busy, broken]
    again = client()
    tried(again, tokenizer)
    assert again.pauses == [7.0, 2.0]
    served.faults += [busy] * 3
    refusal(lambda: tried(client(), tokenizer), "answers 429 in 3 attempts (slow down)", "lower evaluation.endpoint")
    served.faults += [broken] * 3
    refusal(lambda: tried(client(), tokenizer), "answers 500 in 3 attempts (worker died)", "look at its log")
    served.faults += [(422, {"error": {"message": "top_k is too large"}})]
    with pytest.raises(StatusError, match=r"answers 422 \(top_k is too large\): it refuses the request"):
        client().post("completions", {"model": NAME, "prompt": [65], "max_tokens": 1})


def test_an_answer_that_does_not_come(served, client):
    import time

    served.faults += [lambda handler: time.sleep(0.6)] * 2
    slow = client(timeout=0.2, retries=1)
    refusal(
        lambda: slow.post("completions", {"model": NAME}),
        "gave no answer within 0.2 s in 2 attempts; raise evaluation.endpoint.timeout",
    )


def test_a_failure_ends_all_requests(served, client, tokenizer):
    served.faults += [(400, {"error": {"message": "no"}})]
    asked = [Instance("loglikelihood", {}, ("ab", letter), 0) for letter in "abcdefghijklmnop"]
    with pytest.raises(StatusError, match=r"answers 400 \(no\)"):
        lm_of(client(concurrency=1), tokenizer).loglikelihood(asked, disable_tqdm=True)
    assert len(served.asked) < len(asked)


def test_nobody_tries_again_once_one_request_has_failed(served, client, tokenizer):
    import time

    def slow_refusal(handler):
        time.sleep(0.3)
        handler.give(503, {"error": {"message": "loading"}}, {"Retry-After": "60"})

    served.faults += [slow_refusal, (400, {"error": {"message": "no"}}), *[slow_refusal] * 20]
    patient = client(concurrency=3, retries=50)
    patient._pause = patient.stopped.wait
    asked = [Instance("loglikelihood", {}, ("ab", letter), 0) for letter in "abcdef"]
    started = time.monotonic()
    with pytest.raises(StatusError, match=r"answers 400 \(no\)"):
        lm_of(patient, tokenizer).loglikelihood(asked, disable_tqdm=True)
    assert time.monotonic() - started < 30


def test_a_server_without_log_probabilities_of_prompts(served, client, tokenizer):
    served.echo = False
    refusal(lambda: tried(client(), tokenizer), "task 'demo_prose' asks how likely given text is", "hf, layers or vllm")
    assert tried(client(), tokenizer, likelihoods=None).max_length == 512
    served.faults.append((400, {"error": {"message": "echo is not supported"}}))
    refusal(lambda: tried(client(), tokenizer), "task 'demo_prose'", "echo is not supported")


def test_a_server_with_another_tokenizer(served, client, tokenizer):
    shifted = plain(tokenizer)
    refusal(
        lambda: connected(client(), params.Suite(), ASKS, lambda text: [token + 1 for token in shifted(text)], 512),
        "has another tokenizer than MODEL", f"'{TRIED}'", "name the served model's own folder",
    )  # fmt: skip


def test_what_a_chat_cannot_do_is_refused_before_anything_runs(served, number_items):
    chat = settings(served, api="chat")
    chatted = params.Suite(gen=["demo_solution"], chat_template=["demo_solution"])
    Harness(chatted, chat, number_items)
    for suite, words in (
        (params.Suite(mc=["demo_result"]), "task 'demo_result' asks how likely given text is"),
        (params.Suite(gen=["demo_solution"]), "task 'demo_solution' has prompts that do not go through the chat"),
        (params.Suite(loss=["math"]), "the suite's loss asks how likely given text is"),
    ):
        refusal(lambda suite=suite: Harness(suite, chat, number_items), words, "api: completions", "set the backend to")
    assert served.asked == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("node7:8000/v1", "has to be a URL"),
        ("http://key@node7/v1", "holds a name, a key or a query"),
        ("http://node7/v1?key=1", "holds a name, a key or a query"),
        ("http://node7/v1/chat/completions", "names a single call"),
    ],
)
def test_addresses_that_are_none(url, words):
    with pytest.raises(ValueError, match=words):
        Endpoint(base_url=url, model="m")
