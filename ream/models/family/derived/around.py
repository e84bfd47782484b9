"""What a MoE block does to hidden states before its experts, and to the experts' outputs behind them."""

from dataclasses import dataclass
from typing import Any

import torch

from ream.errors import one_line
from ream.models.family.around_experts import inputs_and_output
from ream.models.family.derived.keys import counting, written_name
from ream.models.family.derived.place import Place
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.weightless import Parsed, text_model

TOKENS = 8
CLOSE = 1e-4  # relative to the largest output, in float32


@dataclass(frozen=True)
class Around:
    """What is between a block and its experts.

    Attributes:
        inputs: whether the experts are given something else than the block's inputs.
        outputs: whether the block's output is more than a sum with what the experts give.
    """

    inputs: bool
    outputs: bool


def expert_hidden(model: Parsed, place: Place) -> int:
    """The width of what a block hands its experts, from shapes alone.

    Raises:
        NotDerivableError: the block does not run on hidden states alone.
    """
    block = place.block_of(text_model(model.text))
    like = next(block.parameters())
    width = place.input_width(model.text.hidden_size)
    x = torch.zeros(TOKENS, width, dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            return inputs_and_output(block, x, place.experts)[0].shape[1]
    except PROBED as error:
        raise NotDerivableError(
            f"its {type(block).__name__} does not hand hidden states to its experts: {one_line(error)}"
        ) from error


def latent_key(model: Parsed, place: Place, numbers: Any) -> str | None:
    """The config key of the width of the experts' inputs where that is not H; None where it is.

    Args:
        model: shortened.
        place: of the experts.
        numbers: the text model's part of config.json.

    Raises:
        NotDerivableError: no key gives that width, or config.json lacks it.
    """
    width = expert_hidden(model, place)
    if width == model.text.hidden_size:
        return None
    key = counting(model, width, lambda changed: expert_hidden(changed, place))
    if key is None:
        raise NotDerivableError(f"no key of config.json gives the {width} values of an input of its experts")
    return written_name(model.text, key, numbers)


@torch.no_grad()
def around_of(block: Any, place: Place, hidden: int) -> Around:
    """Whether a block changes inputs and outputs of its experts, found by giving outputs in their place.

    Args:
        block: given values (`decision.valued_block`).
        place: of the experts.
        hidden: H.
    """
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(TOKENS, place.input_width(hidden), generator=generator)
    inputs, without = inputs_and_output(block, x, place.experts)
    answer = torch.randn(inputs.shape, generator=generator)
    moved = inputs_and_output(block, x, place.experts, answer)[1] - without
    same = moved.shape == answer.shape and float((moved - answer).abs().max()) < CLOSE * float(moved.abs().max())
    own = x[:, :hidden]  # without what the router alone is given
    return Around(inputs.shape != own.shape or not torch.equal(inputs, own), not same)
