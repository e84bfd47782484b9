"""A checkpoint planned from config.json alone equals the written one in names, shapes and bytes, for every family."""

import json
import shutil
from collections import Counter

import pytest

from ream.errors import UserError
from ream.models.family.architecture import architecture_of
from ream.models.inspection.headers import has_weights
from ream.models.inspection.planned import PlannedCheckpoint, stored_dtype
from ream.models.storage.checkpoint import Checkpoint
from tests.compress.test_families import SOME
from tests.models import families
from tests.quantized import fp8_checkpoint, mxfp4_checkpoint, w4a16_checkpoint
from tests.subsets import some_slow


def config_only(folder, out, change=None):
    out.mkdir()
    config = json.loads((folder / "config.json").read_text())
    (out / "config.json").write_text(json.dumps((change or (lambda config: config))(config)))
    return out


def counting(family, folder):
    """A change of the config that counts the multi-token layers of the tiny checkpoint, as real ones do or should."""
    extra = families.TINY[family].multi_token

    def change(config):
        if not extra:
            return config
        counted = {"mtp_num_hidden_layers" if "qwen" in family else "num_nextn_predict_layers": extra}
        if "text_config" in config:
            return config | {"text_config": config["text_config"] | counted}
        return config | counted

    return change


def bytes_of(checkpoint):
    return sum(info.bytes for info in checkpoint.tensors.values())


def stored(checkpoint):
    return {name: (info.dtype, info.shape, info.bytes) for name, info in checkpoint.tensors.items()}


@pytest.mark.parametrize("family", some_slow(families.TINY, keep=SOME))
def test_every_family_is_planned_as_it_is_written(family, tmp_path):
    folder = families.build(family, tmp_path / "written")
    written = Checkpoint(folder)
    planned = PlannedCheckpoint(config_only(folder, tmp_path / "planned", counting(family, folder)))
    assert planned.parameters == written.parameters
    assert bytes_of(planned) == bytes_of(written)
    if architecture_of(written).layout == architecture_of(planned).layout:  # the family's first, of those it may have
        assert Counter(stored(planned).values()) == Counter(stored(written).values())
        if families.TINY[family].vision is None:  # whose tensors transformers calls otherwise
            assert stored(planned) == stored(written)
    else:
        assert family == "qwen3_5_moe_text"
    assert architecture_of(planned).moe_layers == architecture_of(written).moe_layers
    assert architecture_of(planned).experts == architecture_of(written).experts


QUANTISED = {
    "fp8 qwen3_moe": ("qwen3_moe", fp8_checkpoint),
    "fp8 deepseek_v3": ("deepseek_v3", fp8_checkpoint),
    "w4a16 kimi_k2": ("kimi_k2", w4a16_checkpoint),
    "w4a16 qwen2_moe": ("qwen2_moe", w4a16_checkpoint),
    "mxfp4 gpt_oss": ("gpt_oss", mxfp4_checkpoint),
}


@pytest.mark.parametrize("case", some_slow(QUANTISED, keep=["fp8 qwen3_moe", "w4a16 kimi_k2", "mxfp4 gpt_oss"]))
def test_quantised_formats_are_planned_as_they_are_stored(case, tmp_path):
    family, quantise = QUANTISED[case]
    values = {"hidden_size": 32, "intermediate_size": 32} if family == "gpt_oss" else None
    plain = families.build(family, tmp_path / "plain", values=values)
    quantise(plain, tmp_path / "written")
    written = Checkpoint(tmp_path / "written")
    planned = PlannedCheckpoint(config_only(written.folder, tmp_path / "planned", counting(family, plain)))
    beside = ("eh_proj", "shared_head")  # of multi-token layers: quantised by some, not by others
    both = [
        {name: parts for name, parts in stored(c).items() if not any(b in name for b in beside)}
        for c in (planned, written)
    ]
    assert both[0] == both[1]
    assert planned.parameters == written.parameters
    with pytest.raises(UserError, match=r"only config\.json"):
        planned.read(architecture_of(planned).an_expert_tensor)


def test_whether_a_folder_has_weights(tmp_path):
    folder = families.build("qwen3_moe", tmp_path / "model")
    assert has_weights(folder)
    next(folder.glob("model-00001*")).unlink()
    assert not has_weights(folder)
    shutil.rmtree(folder)
    assert not has_weights(tmp_path)


def test_the_dtype_of_a_config():
    assert stored_dtype({"torch_dtype": "float16"}) == "F16"
    assert stored_dtype({"text_config": {"dtype": "float32"}}) == "F32"
    assert stored_dtype({"dtype": None}) == "BF16"


@pytest.mark.parametrize("family", ["qwen3_moe", "kimi_k2"])
def test_a_value_that_transformers_refuses_is_one_line(family, tmp_path):
    """In both ways in which a configuration is made."""
    folder = families.build(family, tmp_path / "model")
    bare = config_only(folder, tmp_path / "bare", lambda config: config | {"use_cache": "wide"})
    with pytest.raises(
        UserError, match=r"bare/config\.json: .*'use_cache'.*; correct it, or fetch it again$"
    ) as caught:
        PlannedCheckpoint(bare)
    assert "\n" not in str(caught.value)
