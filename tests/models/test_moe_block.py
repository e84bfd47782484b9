"""A MoE block that is given its routed outputs computes what the module computes by itself, in every family."""

import pytest
import torch

from ream.core.statistics import LayerStatistics
from ream.models import moe_block
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.layers.token_ids import with_ids
from ream.models.storage.checkpoint import Checkpoint
from tests.models import any_moe, families
from tests.subsets import some_slow

TYPES = sorted({*families.TINY, *any_moe.TYPES} - {*any_moe.REFUSED})
ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 0.03}  # of the largest output
# In bfloat16 transformers' own products take widths of 8, which the models of any_moe do not have.
LARGE = ("dots3_note_text", "qwen3_omni_moe", "unlimited_ocr")  # even when they are small
CASES = [(name, torch.float32) for name in TYPES] + [(name, torch.bfloat16) for name in families.TINY]
BFLOAT16 = ("gpt_oss", "llama4", "mixtral", "qwen3_moe")  # by default; every other type in float32
DEFAULT = [
    (name, dtype) for name, dtype in CASES if name not in LARGE and (dtype == torch.bfloat16) == (name in BFLOAT16)
]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
@pytest.mark.parametrize(("model_type", "dtype"), some_slow(CASES, keep=DEFAULT))
def test_with_routed_outputs_the_block_is_transformers(model_type, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(moe_block, "DENSE_TOKENS", 7)  # of a module that runs all experts, several parts
    made = families.build if model_type in families.TINY else any_moe.build
    checkpoint = Checkpoint(made(model_type, tmp_path / "model"))
    architecture = architecture_of(checkpoint)
    decoder = Decoder(checkpoint, architecture, torch.device("cpu"), dtype)
    block = decoder.block(architecture.moe_layers[-1])
    generator = torch.Generator().manual_seed(1)
    width = (1 + bool(block.family.apart)) * architecture.hidden + block.family.state
    x = torch.randn(2, 9, width, generator=generator).to(dtype)
    if block.family.by_ids:
        x = with_ids(x, torch.randint(any_moe.VOCABULARY, (2, 9), generator=generator))
    assert x.shape[-1] == block.input_width(architecture.hidden)
    real = torch.tensor([True] * 15 + [False] * 3)
    statistics, flat = LayerStatistics(block.experts, block.unit, frozenset({"norms"})), x.reshape(18, -1)
    routed = statistics.update(block.expert_inputs(flat), block.route(flat), real, combine=True)
    assert routed.dtype == dtype
    assert not routed[~real].any()
    expected, given = block(x), block(x, routed.reshape(2, 9, -1))
    assert given.shape == expected.shape
    assert given.dtype == expected.dtype
    close = ROUNDING[dtype] * float(expected.float().abs().max())
    difference = (given - expected).float().reshape(18, -1)[real].abs().max()
    assert float(difference) < close
    assert torch.equal(block(x), expected), "without them, the module runs its experts again"
