"""The errors of a layer before and after its refit, as they are kept with the layer and told in the recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

ERRORS = "refit."  # start of their names among a layer's tensors


@dataclass(frozen=True)
class LayerRefit:
    """Squared errors of a layer's output, summed over tokens and outputs (`OutputCoordinates`).

    Attributes:
        fitted: on fitted tokens, before the refit, after each sweep, then after each round of the fit of all
            projections; with weights in float32.
        held_out: the same on held-out tokens.
        rounds: number of rounds of the fit of all projections.
        written: on fitted tokens, with the weights as they are written, in the checkpoint's dtype or format.
        written_held_out: the same on held-out tokens.
        accepted: whether the refit was accepted. If not, the weights from before the refit are written, because they
            do better on fitted tokens.
    """

    fitted: list[float]
    held_out: list[float]
    rounds: int
    written: float
    written_held_out: float
    accepted: bool

    def tensors(self) -> dict[str, Tensor]:
        """The errors as named tensors, to be kept with the layer's recipe."""
        return {
            "refit.fitted": torch.tensor(self.fitted, dtype=torch.float64),
            "refit.held_out": torch.tensor(self.held_out, dtype=torch.float64),
            "refit.rounds": torch.tensor(self.rounds),
            "refit.written": torch.tensor([self.written, self.written_held_out], dtype=torch.float64),
        }


@dataclass(frozen=True)
class LayerChoice:
    """Which candidate a layer has, and what each of them leaves of the plain method's squared error.

    Attributes:
        candidate: its place among the method's candidates.
        ridge: λ of its refit; None without a refit.
        rounds: number of rounds of the fit of all projections.
        refitted: whether it has corrections.
        left_held_out: fraction of the error that is left on held-out tokens, of all sources together.
        left_by_source: of each source.
        tried: of every trial the candidate's place, its rounds, and that fraction of all sources together.
        before: the plain method's error on all other tokens.
    """

    candidate: int
    ridge: float | None
    rounds: int
    refitted: bool
    left_held_out: float
    left_by_source: list[float]
    tried: list[tuple[int, int, float]]
    before: float

    def tensors(self) -> dict[str, Tensor]:
        """The choice as named tensors, to be kept with the layer's recipe."""
        ridge = float("nan") if self.ridge is None else self.ridge
        return {
            "refit.candidate": torch.tensor([self.candidate, self.rounds, int(self.refitted)]),
            "refit.ridge": torch.tensor(ridge, dtype=torch.float64),
            "refit.left_held_out": torch.tensor(self.left_held_out, dtype=torch.float64),
            "refit.left_by_source": torch.tensor(self.left_by_source, dtype=torch.float64),
            "refit.tried": torch.tensor(self.tried, dtype=torch.float64),
            "refit.before": torch.tensor(self.before, dtype=torch.float64),
        }


def errors_among(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a layer's named tensors that `LayerRefit.tensors` has given."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(ERRORS)}


def read_errors(path: Path) -> dict[str, Tensor]:
    """The tensors of `LayerRefit.tensors` in a finished layer's file; {} where it was not refitted."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(ERRORS)}  # noqa: SIM118


def summary(tensors: dict[str, Tensor], labels: Sequence[str] = ()) -> dict[str, Any]:
    """The facts of a layer's refit for the recipe.

    Args:
        tensors: as `LayerRefit.tensors` gives them, or `LayerChoice.tensors`, with ``refit.after``: the squared error
            on all tokens that are not held out.
        labels: of the method's candidates, where one was chosen.

    Returns:
        Number of rounds of the fit of all projections if any, and the fractions of the squared error that are left on
        fitted and on held-out tokens. Without a choice also the number of sweeps; with one also the candidate, its
        ridge, and what each trial left on held-out tokens.
    """
    if "refit.tried" in tensors:
        return _choice_summary(tensors, labels)
    fitted, held_out = tensors["refit.fitted"].tolist(), tensors["refit.held_out"].tolist()
    written, written_held_out = tensors["refit.written"].tolist()
    rounds = int(tensors["refit.rounds"])
    return {
        "sweeps": len(fitted) - 1 - rounds,
        **({"rounds": rounds} if rounds else {}),
        "left": round(written / fitted[0], 6) if fitted[0] else 1.0,
        "left_held_out": round(written_held_out / held_out[0], 6) if held_out[0] else None,
    }


def _choice_summary(tensors: dict[str, Tensor], labels: Sequence[str]) -> dict[str, Any]:
    """The facts of a layer's choice."""
    candidate, rounds, refitted = tensors["refit.candidate"].tolist()
    before, after, held_out = (tensors[f"refit.{name}"] for name in ("before", "after", "left_held_out"))
    tried = {
        labels[int(number)] + (" fitted" if fitted else ""): round(left, 6)
        for number, fitted, left in tensors["refit.tried"].tolist()
    }
    return {
        "candidate": labels[candidate],
        "refitted": bool(refitted),
        **({"ridge": float(tensors["refit.ridge"])} if not tensors["refit.ridge"].isnan() else {}),
        **({"rounds": rounds} if rounds else {}),
        "left": round(float(after / before), 6) if float(before) else 1.0,
        "left_held_out": round(float(held_out), 6),
        "left_by_source": [round(left, 6) for left in tensors["refit.left_by_source"].tolist()],
        "tried": tried,
    }
