"""A checkpoint has the tensors of the modelling code, by name and shape, or is refused in one line: at the door, and
when the model is loaded for evaluation."""

import json
import time

import pytest
import torch

from ream.models.family.architecture import architecture_of, without_multi_token
from ream.models.family.complete import check_complete
from ream.models.family.families import FAMILIES
from ream.models.family.modelling import model_config
from ream.models.inspection.planned import PlannedCheckpoint
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe import load
from ream.recipe.load import load_model
from tests.models import families
from tests.models.damage import set_flag, with_tensors
from tests.models.published import write_config
from tests.models.storage.test_checkpoint import refused

CPU = torch.device("cpu")
CHOSEN = ("qwen3_moe", "mixtral", "qwen3_5_moe", "llama4")  # plain, w1 to w3, and two wrappers
HIDDEN, NORM = families.HIDDEN, "model.norm.weight"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a family's tiny checkpoint, built once."""
    built = {}

    def folder(family):
        if family not in built:
            built[family] = families.build(family, tmp_path_factory.mktemp("complete") / family)
        return built[family]

    return folder


def check(folder):
    checkpoint = Checkpoint(folder)
    check_complete(checkpoint, architecture_of(checkpoint))


def loaded(folder):
    checkpoint = Checkpoint(folder)
    return load_model(checkpoint, architecture_of(checkpoint), None, CPU, torch.float32)


def layer(family, index, rest):
    return FAMILIES[family].layer_prefix.format(layer=index) + rest


@pytest.mark.parametrize("family", families.TINY)
def test_every_family_is_complete_with_and_without_multi_token_layers(tiny, family):
    checkpoint = Checkpoint(tiny(family))
    architecture = architecture_of(checkpoint)
    for model in (
        architecture,
        without_multi_token(architecture),
        without_multi_token(without_multi_token(architecture)),
    ):
        check_complete(checkpoint, model)


@pytest.mark.parametrize("family", families.TINY)
@pytest.mark.parametrize("which", ["embedding", "final_norm", "head"])
def test_a_missing_tensor_outside_the_layers_is_known_from_names(tiny, family, which, tmp_path):
    entry = FAMILIES[family]
    name = getattr(entry, which)
    folder = with_tensors(tiny(family), tmp_path / "x", lambda tensors: tensors.pop(name))
    told = {"embedding": "the embedding", "final_norm": "the final norm", "head": "the head"}[which]
    words = ["tie_word_embeddings", "config.json"] if which == "head" else []
    refused(lambda: architecture_of(Checkpoint(folder)), f"missing {name} ({told})", "fetch it again", *words)


@pytest.mark.parametrize("family", CHOSEN)
def test_a_missing_tensor_of_one_layer_is_known_from_names(tiny, family, tmp_path):
    """Layers 0 and 2 are alike in all of these, but for the dense layer 1 of qwen3_moe."""
    rest = "input_layernorm.weight" if family == "qwen3_5_moe" else "self_attn.q_proj.weight"
    name = layer(family, 0 if family in ("qwen3_moe", "qwen3_5_moe") else 1, rest)
    folder = with_tensors(tiny(family), tmp_path / "x", lambda tensors: tensors.pop(name))
    refused(lambda: architecture_of(Checkpoint(folder)), f"missing {name} (layer ", "fetch it again")


def test_a_tensor_that_only_one_layer_has_is_known_from_names(tiny, tmp_path):
    name = layer("mixtral", 2, "self_attn.q_proj.bias")
    folder = with_tensors(tiny("mixtral"), tmp_path / "x", lambda tensors: tensors.update({name: torch.ones(16)}))
    refused(lambda: architecture_of(Checkpoint(folder)), f"unexpected {name} (layer 2)", "other layers like it")


def no_layer_has_it(tensors, name):
    for index in range(families.LAYERS):
        tensors.pop(name("o_proj.weight", index), None)  # layers with linear attention have none


def another_shape(tensors, name):
    tensors[name("o_proj.weight")] = torch.ones(HIDDEN, 5)


def unknown_in_every_layer(tensors, name):
    for index in range(families.LAYERS):
        tensors[name("extra", index)] = torch.ones(2)


@pytest.mark.parametrize("family", CHOSEN)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_layer_has_it, ["missing", "self_attn.o_proj.weight", "(layer 1)"]),
        (another_shape, ["self_attn.o_proj.weight has shape [16, 5], but ", " [16, 16]"]),
        (unknown_in_every_layer, ["unexpected", "self_attn.extra", "(layer 1)", "has no such tensor"]),
    ],
)
def test_what_names_cannot_tell_is_refused_at_the_door_and_when_loading(tiny, family, change, words, tmp_path):
    """In layer 1, which has full attention in all of these."""

    def name(rest, index=1):
        return layer(family, index, f"self_attn.{rest}")

    folder = with_tensors(tiny(family), tmp_path / "x", lambda tensors: change(tensors, name))
    for open_it in (check, loaded):
        refused(lambda open_it=open_it: open_it(folder), *words, layer(family, 1, "self_attn."), "fetch")


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_a_layer_without_its_experts(tiny, family, tmp_path):
    """It has its router alone."""
    index = 1 if family == "mixtral" else 2
    prefix = layer(family, index, FAMILIES[family].moe + ".experts.")

    def change(tensors):
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    refused(lambda: check(with_tensors(tiny(family), tmp_path / "x", change)), "missing", layer(family, index, ""))


def test_a_tensor_outside_of_the_layers_that_nobody_knows(tiny, tmp_path):
    folder = with_tensors(
        tiny("mixtral"), tmp_path / "x", lambda tensors: tensors.update({"model.extra.weight": torch.ones(2)})
    )
    for open_it in (check, loaded):
        refused(lambda open_it=open_it: open_it(folder), "unexpected model.extra.weight (no layer)", "MixtralModel")


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen3_5_moe", "ernie4_5_moe", "glm4_moe"])
def test_tensors_that_are_known_and_not_needed(tiny, family, tmp_path):
    extra = {layer(family, 0, "self_attn.rotary_emb.inv_freq"), layer(family, 1, "self_attn.k_scale")}
    extra |= {"qwen3_5_moe": {"model.visual.x", "mtp.extra"}, "ernie4_5_moe": {"model.mtp_block.0.x"}}.get(
        family, set()
    )
    folder = with_tensors(
        tiny(family), tmp_path / "x", lambda tensors: tensors.update({name: torch.ones(2) for name in extra})
    )
    check(folder)
    model = loaded(folder)
    reference = loaded(tiny(family)).state_dict()
    assert all(torch.equal(tensor, reference[name]) for name, tensor in model.state_dict().items())


def test_layers_beyond_those_of_the_config(tiny, tmp_path):
    folder = with_tensors(tiny("mixtral"), tmp_path / "x", lambda tensors: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    refused(lambda: architecture_of(Checkpoint(folder)), "layer 2", "the 2 layers of config.json")


@pytest.mark.parametrize("family", ["deepseek_v3", "qwen3_next"])
def test_an_incomplete_multi_token_layer(tiny, family, tmp_path):
    """It is refused, unless it is dropped; its copies of embedding and head may be missing; scores do not need it."""
    checkpoint = Checkpoint(tiny(family))
    architecture = architecture_of(checkpoint)
    extra = architecture.family.multi_token
    names = [architecture.multi_token_name(families.LAYERS, name) for name in (extra.projection, *extra.shared)]
    folder = with_tensors(checkpoint.folder, tmp_path / "a", lambda tensors: [tensors.pop(name) for name in names])
    refused(lambda: check(folder), f"missing {names[0]} (")
    damaged = Checkpoint(folder)
    check_complete(damaged, without_multi_token(architecture_of(damaged)))
    assert loaded(folder).model.embed_tokens.weight.shape == (families.VOCABULARY, HIDDEN)
    if names[1:]:
        folder = with_tensors(checkpoint.folder, tmp_path / "b", lambda t: [t.pop(name) for name in names[1:]])
        check(folder)


WRAPPERS = [("qwen3_5_moe", None, "text_config"), ("llama4", "text_config", None)]


@pytest.mark.parametrize(("family", "level", "other"), WRAPPERS)
def test_a_wrappers_flag_counts_where_transformers_reads_it(tiny, family, level, other, tmp_path):
    """Qwen3.5 has its head beside the text model and its flag at the top of config.json; Llama-4 has both inside."""
    head = FAMILIES[family].head
    folder = with_tensors(tiny(family), tmp_path / "x", lambda tensors: tensors.pop(head))
    set_flag(folder, True, other)
    where = "under text_config in" if level else "at the top of"
    refused(lambda: architecture_of(Checkpoint(folder)), f"missing {head} (the head)", f"true {where} config.json")
    set_flag(folder, True, level)
    check(folder)
    model = loaded(folder)
    embedding = Checkpoint(folder).read(FAMILIES[family].embedding)
    assert torch.equal(model.lm_head.weight, embedding)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, loaded(folder)(ids).logits)
    assert PlannedCheckpoint(folder).logical.keys().isdisjoint({head})


@pytest.mark.parametrize("family", families.TINY)
def test_whether_the_head_is_tied_where_the_config_does_not_say(tiny, family, tmp_path):
    """The entry says what the configuration's class in transformers does."""
    import transformers

    entry = FAMILIES[family]
    config = json.loads((tiny(family) / "config.json").read_text())
    for table in (config, config.get("text_config", {})):
        table.pop("tie_word_embeddings", None)
    default = getattr(transformers, families.TINY[family].config)()
    default = default if entry.wrapped_head or entry.text is None else default.text_config
    assert entry.ties_head(config) == default.tie_word_embeddings == entry.tied
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"\2" + bytes(7) + b"{}")
    assert model_config(Checkpoint(tmp_path), entry).tie_word_embeddings == entry.tied


def test_a_tied_models_own_head_is_no_surplus(tiny, tmp_path):
    folder = with_tensors(tiny("mixtral"), tmp_path / "x", lambda tensors: None)
    set_flag(folder, True, None)
    check(folder)
    stored = Checkpoint(folder).read("lm_head.weight")
    assert torch.equal(loaded(folder).lm_head.weight, stored)  # as transformers does where it is not the embedding
    shorter = with_tensors(
        folder, tmp_path / "y", lambda tensors: tensors.update({"lm_head.weight": torch.ones(3, 16)})
    )
    refused(lambda: check(shorter), "lm_head.weight has shape [3, 16]", "[300, 16]")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "has no tensor for model.norm.weight (1 in all)"),
        (lambda tensors: tensors.update(extra=torch.ones(2)), "does not know extra"),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}),
            "needs another shape of model.norm.weight",
        ),
    ],
)
def test_what_transformers_reports_is_refused_too(tiny, change, words, monkeypatch):
    real = load.text_state_dict

    def changed(*given):
        tensors = real(*given)
        change(tensors)
        return tensors

    monkeypatch.setattr(load, "text_state_dict", changed)
    refused(lambda: loaded(tiny("qwen3_moe")), "Qwen3MoeForCausalLM", words)


@pytest.mark.slow
def test_a_large_model_is_checked_in_seconds(tmp_path):
    checkpoint = PlannedCheckpoint(write_config("Qwen3-30B-A3B", tmp_path / "model"))
    assert len(checkpoint.logical) == 48 * (128 * 3 + 9) + 3
    start = time.process_time()
    check_complete(checkpoint, architecture_of(checkpoint))
    assert time.process_time() - start < 5
