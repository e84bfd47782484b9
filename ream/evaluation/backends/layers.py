"""The backend layers: models go through one layer at a time, all of them side by side, and are never loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ream.evaluation.backends.subject import Candidate, Given, Measured
from ream.evaluation.by_layers import Walked, Walker
from ream.evaluation.layer_scores import Losses, queries_loss, scores_by_layers, window_query
from ream.machine.scratch import scratch
from ream.models.decoder import Decoder
from ream.models.head import Head
from ream.recipe.apply import compressed_layers
from ream.recipe.load import weightless_model


def ready(given: Given, candidates: Sequence[Candidate]) -> None:
    """Nothing can fail that has not been checked."""


def measure(given: Given, candidates: Sequence[Candidate]) -> Iterator[Measured]:
    """Measure all models in one walk, in which each layer of the original is read once.

    Raises:
        UserError: a task generates text, or see `Walker`.
    """
    trust = given.params.model.trust_remote_code
    models = [weightless_model(given.checkpoint, given.architecture, each.recipe, trust) for each in candidates]
    stores = [each.store for each in candidates]
    with _walker(given, candidates) as walker:
        measured = scores_by_layers(given.harness, walker, models[0], given.tokenizer, given.windows, stores)
    for model, (losses, scores) in zip(models, measured, strict=True):
        yield Measured(sum(parameter.numel() for parameter in model.parameters()), losses, scores)


def walked_losses(given: Given, candidates: Sequence[Candidate]) -> list[Losses]:
    """For each model its held-out losses alone, from one walk of all."""
    queries = {source: [window_query(row) for row in rows] for source, rows in given.windows.items()}
    asked = list(dict.fromkeys(query for rows in queries.values() for query in rows if query is not None))
    if not asked:
        return [{} for _ in candidates]
    with _walker(given, candidates) as walker:
        answers = walker.answers(asked)
    likely = [{query: found[0] for query, found in zip(asked, each, strict=True)} for each in answers]
    return [{source: queries_loss(rows, each) for source, rows in queries.items()} for each in likely]


@contextmanager
def _walker(given: Given, candidates: Sequence[Candidate]) -> Iterator[Walker]:
    """The models side by side, with a folder for hidden states that are not kept."""
    decoder, compute = proved_decoder(given), given.params.compute
    head = Head(decoder, given.params.model.trust_remote_code)
    models = [_walked(given, each) for each in candidates]
    with scratch(given.scratch) as folder:
        yield Walker(decoder, head, models, compute.batch_tokens, compute.hidden_memory, folder, "evaluate")


def _walked(given: Given, candidate: Candidate) -> Walked:
    """What of a model its walk needs."""
    recipe = candidate.recipe
    blocks = None if recipe is None else compressed_layers(given.checkpoint, given.architecture, recipe)
    return Walked(blocks, candidate.state, {"model": candidate.made_with})


def proved_decoder(given: Given) -> Decoder:
    """The original's decoder; a derived family is proved first."""
    trust = given.params.model.trust_remote_code
    decoder = Decoder(given.checkpoint, given.architecture, given.device, given.dtype, trust)
    if given.architecture.family.derived:
        from ream.models.family.derived.proof import prove

        prove(given.checkpoint, given.architecture)
    return decoder
