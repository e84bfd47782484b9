"""The backend vllm: vLLM reads a checkpoint, and its engine is started once for all tasks of a model.

Nothing loads the model beside it. Its parameters are counted on transformers' model without weights, and held-out
losses come from a walk through its layers, which is over before the engine starts.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ream.core.recipe import Recipe
from ream.evaluation.backends.layers import walked_losses
from ream.evaluation.backends.subject import Candidate, Given, Measured
from ream.machine.scratch import scratch
from ream.recipe.load import weightless_model
from ream.recipe.output import write_checkpoint
from ream.recipe.room import check_room, checkpoint_bytes


def ready(given: Given, candidates: Sequence[Candidate]) -> None:
    """Refuse what would fail after a walk.

    Raises:
        UserError: there is no room for the checkpoint that vLLM is given.
    """
    sizes = [
        checkpoint_bytes(given.checkpoint, given.architecture, each.recipe)
        for each in candidates
        if each.recipe is not None
    ]
    if sizes:
        check_room(given.scratch, max(sizes), "the checkpoint that vLLM reads")


def measure(given: Given, candidates: Sequence[Candidate]) -> Iterator[Measured]:
    """Walk all models for their losses, then let vLLM answer for one after the other.

    Raises:
        UserError: see `Harness.score`; vLLM does not start, or the checkpoint cannot be written.
    """
    losses = walked_losses(given, candidates)
    release_device()
    trust = given.params.model.trust_remote_code
    for candidate, of_candidate in zip(candidates, losses, strict=True):
        empty = weightless_model(given.checkpoint, given.architecture, candidate.recipe, trust)
        parameters = sum(parameter.numel() for parameter in empty.parameters())
        with _checkpoint(given, candidate.recipe) as folder:
            scores = given.harness.score(folder, None, candidate.store)
        yield Measured(parameters, of_candidate, scores)
        release_device()  # of the engine, before the next one starts


def release_device() -> None:
    """Give back the memory of a device that nothing holds any more: vLLM counts what is free when it starts."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _checkpoint(given: Given, recipe: Recipe | None) -> Iterator[Path]:
    """The model as a folder of files: the original's, or one that is removed when the block exits."""
    if recipe is None:
        yield given.checkpoint.source.whole()
        return
    with scratch(given.scratch) as folder:
        trust = given.params.model.trust_remote_code
        write_checkpoint(given.checkpoint, given.architecture, recipe, folder / "model", trust_remote_code=trust)
        yield folder / "model"
