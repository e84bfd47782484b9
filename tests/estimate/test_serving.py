"""Which numbers of experts serving kernels take: checked against what their sources say, number by number."""

import re
from dataclasses import replace

import pytest

from ream.estimate.serving import FUSED_TOPK, KERNELS, concerns
from ream.models.family.architecture import architecture_of
from ream.models.inspection.planned import PlannedCheckpoint
from tests.models.published import write_config


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """Qwen3-30B-A3B's numbers: 128 experts, top 8, softmax."""
    folder = write_config("Qwen3-30B-A3B", tmp_path_factory.mktemp("serving"))
    return architecture_of(PlannedCheckpoint(folder))


@pytest.fixture(scope="module")
def deepseek(qwen):
    """A group-limited sigmoid router of 256 experts in 8 groups, of which a token may use 4, as DeepSeek-V3's."""
    from ream.models.family.families import FAMILIES

    return replace(qwen, family=FAMILIES["deepseek_v3"], experts=256, router_groups=8, router_top_groups=4)


def test_the_counts_that_vllm_compiles_its_top_k_for():
    assert sorted(FUSED_TOPK) == [1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512, 576]


def test_no_concern_for_64_of_128(qwen):
    assert concerns(qwen, 64) == []
    assert concerns(qwen, 128) == []


def test_96_of_128_leave_the_fused_top_k(qwen):
    (only,) = concerns(qwen, 96)
    assert "vLLM" in only
    assert only.endswith("nearest supported: 64 or 128")


def test_90_of_128_concern_three_kernels(qwen):
    nearest = {re.findall(r"nearest supported: (.*)$", line)[0] for line in concerns(qwen, 90)}
    assert nearest == {"64 or 128", "88 or 92", "88 or 96"}


def test_nearest_counts_are_ones_that_can_be_kept(deepseek):
    """96 in 8 groups: SGLang's gate takes 64 or 128; smaller counts leave too few in a group."""
    (only,) = concerns(deepseek, 96)
    assert "moe_fused_gate" in only
    assert only.endswith("64 or 128")
    (only,) = concerns(replace(deepseek, top_k=8, router_top_groups=1), 96)  # 8 in one group of 8: 64 at least
    assert only.endswith("64 or 128")


def test_what_the_original_never_had_is_no_concern(qwen):
    """60 experts (Qwen1.5-MoE) are none of vLLM's counts, nor a multiple of 8."""
    assert not [line for line in concerns(replace(qwen, experts=60), 44) if "vLLM" in line or "SGLang" in line]


def test_every_kernel_says_where_it_is_written():
    for kernel in KERNELS:
        assert re.match(r"https://github\.com/[\w-]+/[\w-]+/blob/[0-9a-f]{40}/", kernel.source)
