"""The line about experts of which the calibration text says little, and the error where it says nothing of a layer."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from ream.core.evidence import FEW_TOKENS, rarely_routed
from ream.core.recipe import LayerRecipe
from ream.core.sums import Sums, enough_sampled
from ream.errors import UserError

SHOWN = 5  # layers that the line names
WARNING = "; warning: "  # between what a stage did and the remark


def check_seen(sums: Sums, index: int) -> None:
    """Refuse a layer whose experts saw no token, of which nothing can be decided.

    A layer that predicts further tokens (MTP) counts only tokens that have a successor so far away.

    Args:
        sums: statistics of the layer.
        index: of the layer.

    Raises:
        UserError: names the layer.
    """
    if not sums.tokens or not sums.count.sum():
        raise UserError(
            f"layer {index}: no calibration token reached its experts, so nothing can be said about them; use longer "
            "or more calibration sequences (calibration.tokens, calibration.sequences)"
        )
    if sums.sample_tokens is not None and not enough_sampled(sums.sample_tokens):
        raise UserError(
            f"layer {index}: only {int(sums.sample_tokens.sum())} of the tokens sampled for mean outputs count there; "
            "raise statistics.dense_tokens (all takes every token), or use longer sequences"
        )


def remark(routed_tokens: Mapping[int, Float64[np.ndarray, " N"]]) -> str:
    """One line about rarely routed experts; "" where there are none.

    Args:
        routed_tokens: layer index to the number of calibration tokens routed to each expert.
    """
    shares = {index: rarely_routed(tokens) for index, tokens in routed_tokens.items()}
    if not any(shares.values()):
        return ""
    every = np.concatenate([*routed_tokens.values()])
    few, never = float((every < FEW_TOKENS).mean()), float((every == 0).mean())
    worst = sorted((index for index in shares if shares[index]), key=lambda index: (-shares[index], index))
    named = ", ".join(f"{index} ({shares[index]:.0%})" for index in worst[:SHOWN])
    named += f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    return (
        f"{few:.1%} of the experts saw fewer than {FEW_TOKENS} calibration tokens, {never:.1%} none (layers {named}), "
        "so their saliency is uncertain; use more or longer sequences, or text that is closer to the model's use"
    )


def recipe_remark(layers: Mapping[int, LayerRecipe]) -> str:
    """The same line about the layers of a recipe; "" for one of an earlier version, which does not say."""
    return remark({index: layer.routed_tokens for index, layer in layers.items() if layer.routed_tokens is not None})


def warning(line: str) -> str:
    """A remark as the end of a stage's line; "" for no remark."""
    return f"{WARNING}{line}" if line else ""


def without_warning(line: str) -> str:
    """A stage's line without the remark at its end, for commands that warn of it themselves."""
    return line.partition(WARNING)[0]
