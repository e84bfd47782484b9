"""Calibration text, held-out windows and prompts begin with the same tokens."""

import json
import sys
import types
from contextlib import nullcontext

import pytest
import transformers
from lm_eval.api.instance import Instance

from ream import params
from ream.calibration.tokenizer import load_encoder
from ream.errors import UserError
from ream.evaluation import harness
from ream.evaluation.shared_context import SharedContextLM

BOS = 257


@pytest.fixture
def folder(tokenizer, tmp_path):
    """A tokenizer that puts <bos> before every text."""
    tokenizer.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": BOS, "content": "<bos>"})
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path


class Recorded:
    """Keeps the ids of every prompt that a model is given."""

    def __init__(self, monkeypatch, model):
        self.rows, forward = [], model.forward

        def watched(*args, **options):
            ids = options.get("input_ids", args[0] if args else None)
            self.rows += ids.tolist()
            return forward(*args, **options)

        monkeypatch.setattr(model, "forward", watched)


@pytest.mark.parametrize("setting", ["tokenizer", "none"])
def test_prompts_begin_as_the_calibration_text(folder, model, monkeypatch, setting):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    recorded = Recorded(monkeypatch, model)
    lm = SharedContextLM(model, tokenizer, 4, None, None if setting == "tokenizer" else False)
    encode = load_encoder(str(folder), None, False, setting).encode
    lm.loglikelihood([Instance("loglikelihood", {}, ("the router", " gates"), 0)], disable_tqdm=True)
    assert recorded.rows == [encode("the router gates")[:-1]]
    recorded.rows.clear()
    settings = {"until": ["\n"], "max_gen_toks": 1, "do_sample": False}
    lm.generate_until([Instance("generate_until", {}, ("the router", settings), 0)], disable_tqdm=True)
    assert recorded.rows[0] == encode("the router")
    assert (encode("the router")[0] == BOS) == (setting == "tokenizer")


def test_a_prompt_that_begins_with_bos_gets_no_second_one(folder, model):
    """As the prompts of most chat templates do."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, bos_token="<bos>")
    encode, lm = load_encoder(str(folder), None, False).encode, SharedContextLM(model, tokenizer, 4, None)
    assert encode("<bos>abc") == encode("abc") == lm.tok_encode("<bos>abc") == lm.tok_encode("abc")
    assert lm.tok_batch_encode(["<bos>abc"])[0][0].tolist() == encode("abc")


def test_prompts_with_ids_beyond_the_embeddings_are_refused(folder, model):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra{i}>" for i in range(60)])  # the last has id 317; the model has 300 embeddings
    lm = SharedContextLM(model, tokenizer, 4, None)
    wanted = r"gives the token id 317, but the model has embeddings for 300 \(vocab_size in its config\.json\)"
    assert lm.tok_encode("<extra40>")[-1] == 298
    with pytest.raises(UserError, match=wanted):
        lm.tok_encode("<extra59>")
    with pytest.raises(UserError, match=wanted):
        lm.tok_batch_encode(["<extra59>"])


def test_padding_may_lie_beyond_the_embeddings(folder, model):
    """It is masked, and some models have a padding token without an embedding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra{i}>" for i in range(60)])
    lm = SharedContextLM(model, tokenizer, 4, None)
    tokenizer.pad_token = "<extra59>"
    ids, mask = lm.tok_batch_encode(["abc", "a"])
    assert mask.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert ids[1].tolist() == [0, 0, *lm.tok_encode("a")]


@pytest.mark.parametrize(("setting", "given"), [("tokenizer", None), ("none", False)])
def test_vllm_is_told(evaluation, monkeypatch, setting, given):
    """A stand-in for the backend, because vLLM is not installed."""
    asked = []
    backend = types.ModuleType("ream.evaluation.vllm_model")
    backend.RecordingVLLM = lambda **options: asked.append(options)
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    monkeypatch.setattr(harness, "check_backend", lambda _: None)
    monkeypatch.setattr("ream.evaluation.backends.vllm_start.named_vllm", nullcontext)
    suite, vllm = params.Suite(gen=["demo_arithmetic"]), evaluation.model_copy(update={"backend": "vllm"})
    tasks = harness.Harness(suite, vllm, None, setting)
    monkeypatch.setattr(harness, "run_task", lambda *_: ({"value": 1.0}, []))
    monkeypatch.setattr(tasks, "load", lambda _: tasks._loaded.update({"demo_arithmetic": None}))
    tasks.score("folder", None, None)
    assert [(options["pretrained"], options["add_bos_token"]) for options in asked] == [("folder", given)]
    assert tasks.settings["demo_arithmetic"]["special_tokens"] == setting
