import pytest
import torch

from ream.models.layers.token_ids import DIGITS, ids_of, with_ids, without_ids


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("axes", [(5,), (3, 4)])
def test_ids_and_hidden_states_come_back_exactly(dtype, axes):
    stream = torch.randn(2, 4, *axes, generator=torch.Generator().manual_seed(0)).to(dtype)
    ids = torch.tensor([[0, 255, 256, 257], [65_535, 65_536, 129_279, 256**3 - 1]])
    packed = with_ids(stream, ids)
    assert packed.dtype == dtype
    assert packed.shape == (2, 4, stream[0, 0].numel() + DIGITS)
    assert torch.equal(ids_of(packed), ids)
    assert torch.equal(without_ids(packed, axes), stream)
