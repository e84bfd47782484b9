"""The head behind a walk gives the logits of the model that transformers loads whole, of every kind of family."""

import pytest
import torch

from ream.errors import UserError
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of, without_multi_token
from ream.models.head import Head
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.load import load_model
from tests.models import any_moe, families
from tests.subsets import some_slow

CPU = torch.device("cpu")
# Entries: plain, with multi-token layers, tied, and in wrappers that are loaded by their text and not.
ENTRIES = ("deepseek_v3", "ernie4_5_moe", "gpt_oss", "llama4", "qwen3_5_moe", "qwen3_moe")
# Derived: a factor on the logits, a soft cap or scale, a bias of the head, several streams, a wrapper, a state space.
DERIVED = ("aria", "cohere2_moe", "glm5_next", "granitemoe", "hy_v4", "jamba", "phimoe", "step3p7")
CHEAP = ("ernie4_5_moe", "gpt_oss", "granitemoe", "jamba", "llama4", "qwen3_moe")
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


def opened(folder):
    checkpoint = Checkpoint(folder)
    return checkpoint, without_multi_token(architecture_of(checkpoint))


@torch.no_grad()
def behind_the_last_layer(decoder, ids):
    """[n, L, ...] hidden states that leave the last layer."""
    hidden = decoder.embed(ids)
    for index in range(decoder.architecture.layers):
        with decoder.layer(index) as layer:
            residual, x = layer(hidden)
            hidden = residual if x is None else layer.leaving(residual, decoder.block(index)(x))
    return hidden


@pytest.mark.parametrize("name", some_slow([*ENTRIES, *DERIVED], keep=CHEAP))
def test_logits_are_those_of_the_whole_model(name, tmp_path):
    folder = (families if name in ENTRIES else any_moe).build(name, tmp_path / name)
    checkpoint, architecture = opened(folder)
    decoder, ids = Decoder(checkpoint, architecture, CPU, torch.float32), torch.randint(3, 290, (2, 9))
    head, hidden = Head(decoder), behind_the_last_layer(decoder, ids)
    found = head(hidden.flatten(0, 1))
    with torch.no_grad():
        model = load_model(checkpoint, architecture, None, CPU, torch.float32)
        expected = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    assert found.shape == (18, head.vocabulary)
    torch.testing.assert_close(head(hidden.flatten(0, 1)[5:6])[0], found[5], rtol=1e-5, atol=1e-6)
    assert expected.std() > 0.05


def test_a_model_whose_text_alone_has_no_language_model_is_refused_by_name(tmp_path):
    checkpoint, architecture = opened(any_moe.build("mistral4", tmp_path / "mistral4"))
    decoder = Decoder(checkpoint, architecture, CPU, torch.float32)
    with pytest.raises(UserError, match="no language model for model_type 'mistral4'"):
        Head(decoder)


def test_logits_that_are_not_finite_are_refused(checkpoint):
    decoder = Decoder(*opened(checkpoint), CPU, torch.float32)
    with pytest.raises(UserError, match="logits hold NaN or Inf"):
        Head(decoder)(torch.full((1, 16), float("inf")))
