"""Devices and dtypes by their names in params.yaml."""

import pytest
import torch

from ream.errors import UserError
from ream.models.runtime import device_of, dtype_of

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_dtypes():
    assert dtype_of("auto", CPU) == torch.float32
    assert dtype_of("auto", GPU) == torch.bfloat16
    assert dtype_of("bfloat16", CPU) == torch.bfloat16
    assert dtype_of("float32", GPU) == torch.float32


@pytest.mark.parametrize("sees_one", [False, True])
def test_devices(monkeypatch, sees_one):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees_one)
    assert device_of("cpu") == CPU
    assert device_of("auto") == (GPU if sees_one else CPU)
    if sees_one:
        assert device_of("cuda:1") == torch.device("cuda:1")
    else:
        with pytest.raises(UserError, match="cuda:1 was requested"):
            device_of("cuda:1")
