"""What a backend is given to measure, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ream.core.recipe import Recipe
from ream.evaluation.store import ResultStore
from ream.evaluation.windows import Windows
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint
from ream.params import Params

if TYPE_CHECKING:
    import torch

    from ream.evaluation.harness import Harness


@dataclass(frozen=True)
class Given:
    """What all models share that are measured.

    Attributes:
        params: all settings.
        checkpoint: the original.
        architecture: the original's.
        harness: the suite's tasks, loaded.
        tokenizer: the original's.
        windows: source to its held-out windows.
        device: to compute on.
        dtype: to compute in.
        scratch: folder of temporary files.
    """

    params: Params
    checkpoint: Checkpoint
    architecture: Architecture
    harness: "Harness"
    tokenizer: Any
    windows: Mapping[str, Windows]
    device: "torch.device"
    dtype: "torch.dtype"
    scratch: Path


@dataclass(frozen=True)
class Candidate:
    """A model to be measured.

    Attributes:
        recipe: the compression of the original; None for the original itself.
        store: takes the results of finished tasks, and may hold some; None keeps nothing.
        state: folder of an unfinished walk; None keeps nothing.
        made_with: what stored results depend on beside the settings.
    """

    recipe: Recipe | None
    store: ResultStore | None = None
    state: Path | None = None
    made_with: str = ""


class Measured(NamedTuple):
    """What was measured of a model.

    Attributes:
        parameters: their number.
        losses: source to its held-out loss (`ream.evaluation.loss.window_loss`).
        scores: of all tasks (`Harness.score`).
    """

    parameters: int
    losses: dict[str, dict[str, float]]
    scores: dict[str, Any]
