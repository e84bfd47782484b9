"""Gated units: the clamped one by hand, and transformers' own code as a unit."""

import pytest
import torch

from ream.models.family.activations import UNITS, unit_of
from ream.models.family.architecture import architecture_of
from ream.models.family.derived import module_side, proof
from ream.models.family.derived.derive import _DERIVED
from ream.models.storage.checkpoint import Checkpoint
from tests.models.any_moe import build


def test_clamped_silu_by_hand():
    unit = unit_of("clamped-silu", {"swiglu_limit": 2.0})
    gate, up = torch.tensor([-1.0, 1.0, 5.0]), torch.tensor([3.0, -3.0, 0.5])
    silu = [-1 / (1 + torch.tensor(1.0).exp()), 1 / (1 + torch.tensor(-1.0).exp()), 2 / (1 + torch.tensor(-2.0).exp())]
    torch.testing.assert_close(unit(gate, up), torch.stack(silu) * torch.tensor([2.0, -2.0, 0.5]))


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_pytorch_tanh", "relu", "swish"])
def test_an_activations_name_is_a_unit_whatever_the_config_says(name):
    gate, up = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        unit_of(name, {"hidden_act": "none"})(gate, up), unit_of("gated", {"hidden_act": name})(gate, up)
    )


def test_a_unit_that_ream_does_not_have_is_transformers_own(tmp_path, monkeypatch):
    """GLM-5-Next's clamped unit, with ream's own left out of the choice."""
    choose = module_side.candidates
    monkeypatch.setattr(
        module_side, "candidates", lambda *given: {name: unit for name, unit in choose(*given).items() if name == "own"}
    )
    monkeypatch.setattr(proof, "_PROVED", {})
    _DERIVED.clear()
    checkpoint = Checkpoint(build("hy_v4", tmp_path / "x"))
    architecture = architecture_of(checkpoint)
    _DERIVED.clear()
    assert architecture.family.unit == "own"
    assert proof.prove(checkpoint, architecture).outputs < 1e-5
    numbers = checkpoint.config
    gate, up = 20 * torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(UNITS["own"](numbers)(gate, up), UNITS["clamped-silu"](numbers)(gate, up))
