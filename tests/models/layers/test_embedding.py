import pytest
import torch
from torch import nn

from ream.models.layers.embedding import embedding_of
from tests.models.storage.test_checkpoint import refused

WIDTH = 6


class Scaled(nn.Embedding):
    """As Gemma's: rows times a number that no checkpoint has."""

    def __init__(self):
        super().__init__(10, WIDTH, padding_idx=9)
        self.register_buffer("scale", torch.tensor(2.5), persistent=False)

    def forward(self, ids):
        return super().forward(ids) * self.scale.to(self.weight.dtype)


class Added(nn.Embedding):
    """With weights beside its table."""

    def __init__(self):
        super().__init__(10, WIDTH)
        self.shift = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, ids):
        return super().forward(ids) + self.shift


class Model(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed = kind()

    def get_input_embeddings(self):
        return self.embed


def built(kind):
    with torch.device("meta"):
        return Model(kind)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_scaled_as_by_the_model(dtype):
    rows = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
    embedded = embedding_of(built(Scaled), lambda: built(Scaled))(rows)
    assert embedded.dtype == dtype
    assert torch.equal(embedded, rows * torch.tensor(2.5, dtype=dtype))


def test_a_plain_table_gives_its_rows():
    rows = torch.ones(1, 2, WIDTH)
    plain = lambda: nn.Embedding(10, WIDTH)  # noqa: E731
    assert embedding_of(built(plain), lambda: built(plain))(rows) is rows


def test_an_embedding_with_other_weights_is_refused():
    refused(lambda: embedding_of(built(Added), lambda: built(Added)), "Added", "shift")
