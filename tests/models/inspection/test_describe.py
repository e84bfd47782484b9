"""What `ream inspect` says: patterns of names, keys that count, and every field of an entry with its meaning."""

from dataclasses import dataclass, fields

import pytest

from ream.models.family.families import FAMILIES
from ream.models.family.family import Family
from ream.models.family.multi_token_names import MultiToken
from ream.models.inspection.describe import described, field_meanings, patterns, unknown_family
from ream.models.inspection.headers import open_headers
from tests.models.families import TINY, build
from tests.models.published import write_config


def test_patterns_of_names():
    shapes = {
        f"model.layers.{layer}.mlp.experts.{expert}.w1.weight": (4, 8) for layer in range(2) for expert in range(3)
    }
    shapes |= {
        "model.layers.0.mlp.router2.bias": (3,),
        "model.layers.1.mlp.router2.bias": (5,),
        "lm_head.weight": (9, 8),
    }
    assert patterns(shapes) == {
        "model.layers.{n}.mlp.experts.{n}.w1.weight": "6 of [4, 8]",
        "model.layers.{n}.mlp.router2.bias": "2 of [3] and 1 other shapes",
    }
    assert patterns(dict.fromkeys(shapes))["model.layers.{n}.mlp.experts.{n}.w1.weight"] == "6"


def test_fields_come_from_the_docstring():
    @dataclass
    class Entry:
        """An entry.

        Attributes:
            one, two: of a pair. three: what: it
                is; four: more.
            five: no field's: meaning.
        """

        one: int
        two: int
        three: int
        four: int

    assert field_meanings(Entry) == {
        "one": "of a pair", "two": "of a pair", "three": "what: it is", "four": "more. five: no field's: meaning",
    }  # fmt: skip


@pytest.mark.parametrize("described_class", [Family, MultiToken])
def test_every_field_of_an_entry_has_a_meaning(described_class):
    meanings = field_meanings(described_class)
    wanted = [field.name for field in fields(described_class)]
    assert [name for name in wanted if meanings.get(name)] == wanted


def test_an_unknown_family():
    rows = unknown_family(
        {
            "model_type": "new",
            "text_config": {"experts_per_layer": 7, "moe_top_k": 2, "use_moe": True},
            "hidden_size": 4,
        },
        {"layers.3.experts.up": (7, 4, 4)},
    )
    assert rows["config: text_config.experts_per_layer"] == "7"
    assert rows["config: text_config.moe_top_k"] == "2"
    assert rows["tensors: layers.{n}.experts.up"] == "1 of [7, 4, 4]"
    assert not [name for name in rows if "hidden_size" in name or "use_moe" in name]
    assert {name for name in rows if name.startswith("Family.")} == {f"Family.{field.name}" for field in fields(Family)}


@pytest.mark.parametrize("family", ["deepseek_v3", "gpt_oss", "llama4"])
@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
def test_a_known_family(family, tmp_path):
    tiny = TINY[family]
    rows = described(open_headers(str(build(family, tmp_path / "model"))), "it")
    assert rows["family"] == family
    assert rows["layers"] == f"3, {len(tiny.moe_layers)} of them with routed experts"
    assert rows["multi-token layers"].startswith("1, " if tiny.multi_token else "none")
    assert rows["router groups"] == ("2; a token uses at most 1" if tiny.groups > 1 else "none")
    assert rows["router"].startswith(FAMILIES[family].scores)
    assert (rows["shared experts"] == "none") == (not FAMILIES[family].shared)
    assert ("outside the text model" in rows["parameters"]) == (tiny.vision is not None)


def test_numbers_of_a_config_alone(tmp_path):
    rows = described(open_headers(str(write_config("Mixtral-8x7B", tmp_path))), "mixtral")
    assert rows["parameters"] == "46,702,792,704"  # as the card of Mixtral-8x7B-v0.1 counts: 46.7B
    assert rows["shards"] == "none in this folder; 93.41 GB according to config.json"
    assert "digest" not in rows
