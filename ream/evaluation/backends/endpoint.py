"""The backend endpoint: a server answers for the model, of which nothing but configuration and headers is read."""

from collections.abc import Iterator, Sequence

from ream.errors import UserError
from ream.evaluation.backends.abilities import check_recipes
from ream.evaluation.backends.client import Client
from ream.evaluation.backends.connection import Connection, connected
from ream.evaluation.backends.endpoint_lm import EndpointLM
from ream.evaluation.backends.subject import Candidate, Given, Measured
from ream.evaluation.layer_scores import queries_loss, window_query
from ream.evaluation.settings import seeds_of
from ream.recipe.load import weightless_model


def ready(given: Given, candidates: Sequence[Candidate]) -> None:
    """Try the server with one or two tiny requests.

    Raises:
        UserError: a candidate is a recipe, which the server does not have; or see `connected`.
    """
    for candidate in candidates:
        if candidate.recipe is not None:
            check_recipes("the model", given.params.evaluation)
    _connection(given)


def measure(given: Given, candidates: Sequence[Candidate]) -> Iterator[Measured]:
    """Measure the model that the server has.

    Raises:
        UserError: see `connected`; windows are longer than what the server takes; or a call fails.
    """
    connection = _connection(given)  # now that the tasks are loaded, all that they need is known
    for candidate in candidates:
        losses = _losses(given, connection)
        trust = given.params.model.trust_remote_code
        empty = weightless_model(given.checkpoint, given.architecture, None, trust)
        parameters = sum(parameter.numel() for parameter in empty.parameters())
        yield Measured(parameters, losses, given.harness.score(connection, given.tokenizer, candidate.store))


def _connection(given: Given) -> Connection:
    """The server, tried."""
    evaluation, config = given.params.evaluation, given.checkpoint.config
    assert evaluation.endpoint is not None, "checked with the settings"
    reason = "the suite's loss" if given.windows else given.harness.asks_likelihoods
    return connected(
        Client(evaluation.endpoint),
        given.harness.suite,
        reason,
        lambda text: given.tokenizer.encode(text, add_special_tokens=False),
        evaluation.max_length or given.architecture.family.positions(config),
    )


def _losses(given: Given, connection: Connection) -> dict[str, dict[str, float]]:
    """The loss on every source, from the log-probabilities of its windows' tokens."""
    lm = EndpointLM(connection, given.tokenizer, None, seeds_of(given.params.evaluation.seed)["torch"], None, {})
    losses = {}
    for source, windows in given.windows.items():
        queries = [window_query(window) for window in windows]
        asked = list(dict.fromkeys(query for query in queries if query is not None))
        longest = max((len(query.ids) + 1 for query in asked), default=0)
        if lm.max_length is not None and longest > lm.max_length:
            raise UserError(
                f"the suite's loss has windows of {longest - 1} tokens, for which the server's context of "
                f"{lm.max_length} tokens has no room with one token of an answer; lower the suite's loss_tokens"
            )
        answers = lm.likelihoods([(query.ids[: -query.targets], query.ids[-query.targets :]) for query in asked])
        losses[source] = queries_loss(queries, dict(zip(asked, answers, strict=True)))
    return losses
