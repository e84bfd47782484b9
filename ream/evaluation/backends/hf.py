"""The backend hf: transformers holds the whole model."""

from collections.abc import Iterator, Sequence

from ream.errors import UserError
from ream.evaluation.backends.subject import Candidate, Given, Measured
from ream.evaluation.loss import window_loss
from ream.machine.scratch import scratch
from ream.recipe.load import Spread, load_model


def ready(given: Given, candidates: Sequence[Candidate]) -> None:
    """Refuse a device that contradicts evaluation.device_map.

    Raises:
        UserError: one is named.
    """
    evaluation, device = given.params.evaluation, given.params.compute.device
    if evaluation.device_map is not None and device not in ("auto", "cuda"):
        raise UserError(
            f"evaluation.device_map: auto spreads the model over all GPUs, but compute.device is {device}; set it to "
            "auto, or leave device_map out"
        )


def measure(given: Given, candidates: Sequence[Candidate]) -> Iterator[Measured]:
    """Load and measure one model after the other.

    Raises:
        UserError: see `load_model` and `Harness.score`.
    """
    for candidate in candidates:
        if given.params.evaluation.device_map is None:
            yield _measured(given, candidate, None)
        else:
            with scratch(given.scratch) as folder:
                yield _measured(given, candidate, Spread(folder))


def _measured(given: Given, candidate: Candidate, spread: Spread | None) -> Measured:
    compute, trust = given.params.compute, given.params.model.trust_remote_code
    model = load_model(given.checkpoint, given.architecture, candidate.recipe, given.device, given.dtype, trust, spread)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    losses = {source: window_loss(model, windows, compute.batch_tokens) for source, windows in given.windows.items()}
    return Measured(parameters, losses, given.harness.score(model, given.tokenizer, candidate.store))
