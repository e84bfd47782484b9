"""Which files beside the weights are copied, and from where."""

import json
import os

import pytest

from ream.models.inspection.manifest import source_of
from ream.models.storage.checkpoint import INDEX, SINGLE
from ream.models.storage.companions import companions, own_code, without_code
from ream.recipe.contents import CONTENTS, RECIPE
from tests.models.storage.fake_hub import NAME
from tests.models.storage.strangers import within
from tests.models.storage.test_checkpoint import refused

COPIED = {
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "added_tokens.json", "merges.txt", "vocab.txt", "tokenizer.model", "tokenizer.model.v3", "spiece.model",
    "tekken.json", "qwen.tiktoken", "chat_template.jinja", "chat_template.json", "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json", "LICENSE", "LICENSE.txt", "LICENCE.md", "License.txt", "NOTICE", "Notice.txt",
    "USE_POLICY.md", "COPYING", "hf_quant_config.json", "quantize_config.json",
}  # fmt: skip
LEFT = {
    "config.json", INDEX, SINGLE, CONTENTS, RECIPE, "README.md", "notes.txt", "secrets.json", "setup.py",
    "modeling_x.py", "LICENSE.py", "figure.png", ".env", "id_rsa", "pytorch_model.bin.index.json", "params.json",
    "training_args.bin", "other.jinja",
}  # fmt: skip
CODE = {"AutoConfig": "configuration_x.Config", "AutoModelForCausalLM": "modeling_x.Model"}


def names(folder, quantised=True, code=False):
    return {path.relative_to(folder).as_posix() for path in companions(folder, quantised, code)}


def test_the_list(tmp_path):
    for name in COPIED | LEFT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    for place in ("chat_templates", "additional_chat_templates", "LICENSES", "secret"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "tool.jinja").touch()
        (tmp_path / place / "LICENSE").touch()
    templates = {"chat_templates/tool.jinja", "additional_chat_templates/tool.jinja"}
    assert names(tmp_path) == COPIED | templates
    assert names(tmp_path, quantised=False) == (COPIED | templates) - {"hf_quant_config.json", "quantize_config.json"}


@pytest.mark.parametrize("name", ["tokenizer.json", "LICENSE", "chat_templates/x.jinja", "modeling_x.py"])
@pytest.mark.parametrize("target", ["outside", "inside", "nothing", "pipe"])
def test_links_and_pipes_are_refused(name, target, tmp_path):
    folder = tmp_path / "model"
    (folder / name).parent.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"auto_map": CODE}))
    (tmp_path / "secret").write_text("secret")
    (folder / "notes.txt").write_text("mine")
    if target == "pipe":
        os.mkfifo(folder / name)
    else:
        goal = {"outside": tmp_path / "secret", "inside": folder / "notes.txt", "nothing": tmp_path / "none"}[target]
        (folder / name).symlink_to(goal)
    with within(5):
        if name.endswith(".py"):
            assert names(folder) == set()
        if name.endswith(".py") and target in ("nothing", "pipe"):
            assert names(folder, code=True) == set()  # as if it were not there
            return
        what = "is not a regular file" if target == "pipe" else "is a link out of the checkpoint"
        refused(lambda: names(folder, code=True), str(folder / name), what)


def test_a_folder_that_is_a_link_leads_out_too(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "x.jinja").write_text("secret")
    (tmp_path / "model" / "chat_templates").symlink_to(tmp_path / "home")
    refused(lambda: names(tmp_path / "model"), "x.jinja", "is a link out of the checkpoint")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "LICENSE").touch()
    assert names(tmp_path / "link") == {"LICENSE"}, "the checkpoint itself may be reached by a link"


def test_links_of_the_hubs_cache(hub, tmp_path):
    folder = source_of(NAME).folder
    assert {"tokenizer.json", "chat_template.jinja", "LICENSE"} <= names(folder)
    assert (folder / "LICENSE").is_symlink()
    shared = hub.cache / "blobs" / "ab" / "hash"  # where several models have one file
    shared.parent.mkdir(parents=True)
    (folder / "LICENSE").resolve().rename(shared)
    blob = folder / os.readlink(folder / "LICENSE")
    blob.symlink_to(shared)
    assert "LICENSE" in names(folder)
    blob.unlink()
    (tmp_path / "secret").write_text("x")
    blob.symlink_to(tmp_path / "secret")
    refused(lambda: names(folder), "LICENSE", "is a link out of the checkpoint")


def test_code_is_what_auto_map_names_and_what_that_imports(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": CODE}))
    tokenizer = {"auto_map": {"AutoTokenizer": ["tokenization_x.Slow", None], "AutoProcessor": "a/b--processing.X"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (tmp_path / "modeling_x.py").write_text(
        "import torch\nfrom .layers import A\nif A:\n    from .configuration_x import B\n"
    )
    (tmp_path / "layers.py").write_text("from .modeling_x import C\nfrom .deeper.x import D\nfrom ..up import E\n")
    for name in ("configuration_x.py", "tokenization_x.py", "setup.py", "processing.py", "up.py"):
        (tmp_path / name).touch()
    found = {path.name for path in own_code(tmp_path)}
    assert found == {"modeling_x.py", "layers.py", "configuration_x.py", "tokenization_x.py"}
    assert names(tmp_path, code=True) == found | {"tokenizer_config.json"}
    assert names(tmp_path, code=False) == {"tokenizer_config.json"}
    assert without_code(tokenizer) == {"auto_map": {"AutoProcessor": "a/b--processing.X"}}
    assert without_code({"a": 1, "auto_map": CODE}) == {"a": 1}


@pytest.mark.parametrize(
    "auto_map", [None, [], 3, "x.Y", {"A": 3}, {"A": "../x.Y"}, {"A": "/etc/x.Y"}, {"A": ["a/b.C", 1]}]
)
def test_an_auto_map_that_names_no_module(auto_map, tmp_path):
    (tmp_path / "x.py").touch()
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": auto_map}))
    assert own_code(tmp_path) == []
    assert without_code({"auto_map": auto_map}) == {"auto_map": auto_map}
