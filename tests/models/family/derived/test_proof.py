"""The proof: passed by what is understood, failed by each way of misunderstanding it, in one line that says how."""

from dataclasses import replace

import pytest
import torch

from ream.models.family.architecture import architecture_of
from ream.models.family.derived import proof
from ream.models.family.derived.proof import CLOSE, prove
from ream.models.family.family import RouterTensor
from ream.models.family.layout import ExpertTensor
from ream.models.storage.checkpoint import Checkpoint
from tests.models.any_moe import build
from tests.models.storage.test_checkpoint import refused


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A checkpoint with a correction bias, router groups and a shared expert, and its derived architecture."""
    checkpoint = Checkpoint(build("dots1", tmp_path_factory.mktemp("proof") / "dots1"))
    return checkpoint, architecture_of(checkpoint)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(proof, "_PROVED", {})


def with_family(architecture, **values):
    """The architecture with other values in its family, read from the same names."""
    return replace(architecture, family=replace(architecture.family, **values))


def test_what_is_understood_passes(opened):
    result = prove(*opened)
    assert max(result.outputs, result.moved, result.left_out) < 1e-5
    assert (result.layer, result.experts) == (1, 8)
    assert result.seconds > 0
    assert "layer 1, 8 experts" in str(result)
    assert str(CLOSE).rstrip("0") in result.lasting


def test_it_is_made_once_a_process(opened):
    assert prove(*opened) is prove(*opened)


def test_another_activation_is_refused(opened):
    checkpoint, architecture = opened
    refused(lambda: prove(checkpoint, with_family(architecture, unit="gelu")), "the outputs of its experts", "layer 1")


def test_gate_and_up_confused_are_refused(opened):
    checkpoint, architecture = opened
    gate, up, down = architecture.layout
    swapped = (ExpertTensor(up.name, "gate"), ExpertTensor(gate.name, "up"), down)
    refused(lambda: prove(checkpoint, replace(architecture, layout=swapped)), "the outputs of its experts")


def test_a_forgotten_router_tensor_is_refused(opened):
    """Without its bias the block keeps N entries there, and the experts' order changes what is selected."""
    checkpoint, architecture = opened
    bias = RouterTensor("gate.e_score_correction_bias", exact=True)
    assert bias in architecture.family.router
    roles = {name: role for name, role in architecture.roles.items() if role.kind != bias}
    wrong = with_family(replace(architecture, roles=roles), router=architecture.family.router[:1])
    refused(lambda: prove(checkpoint, wrong), "with its experts in another order")


def test_groups_that_are_not_seen_are_refused(opened):
    """Experts that leave their router group are not selected as they were."""
    checkpoint, architecture = opened
    wrong = replace(architecture, router_groups=1, router_top_groups=1)
    refused(lambda: prove(checkpoint, wrong), "nothing was changed")


def test_of_many_experts_the_first_take_part(tmp_path):
    checkpoint = Checkpoint(build("mellum", tmp_path / "x", num_local_experts=48))
    result = prove(checkpoint, architecture_of(checkpoint))
    assert result.experts == 8
    assert max(result.outputs, result.moved, result.left_out) < 1e-5


def test_weights_in_bfloat16_are_proved_in_float32(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = build("hy_v3", tmp_path / "x")
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    checkpoint = Checkpoint(folder)
    result = prove(checkpoint, architecture_of(checkpoint))
    assert max(result.outputs, result.moved, result.left_out) < 1e-5
