"""A server that has been tried: which of its abilities are there, and how long prompts can be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream import params
from ream.errors import UserError, unknown
from ream.evaluation.backends.client import Client, StatusError
from ream.params.endpoint import Endpoint

TRIED = "The sum of 2 and 3 is 5"  # whose tokens every tokenizer writes in the same letters


class LackingError(UserError):
    """An answer lacks the log-probabilities that were asked for."""


@dataclass(frozen=True)
class Connection:
    """A server to be asked.

    Attributes:
        client: calls it.
        max_length: the most tokens of a prompt and its answer; None where neither settings nor server say.
    """

    client: Client
    max_length: int | None

    @property
    def endpoint(self) -> Endpoint:
        """The server, and the model there."""
        return self.client.endpoint


def connected(
    client: Client, suite: params.Suite, likelihoods: str | None, encode: Any, longest: int | None
) -> Connection:
    """Try a server with one or two tiny requests.

    Args:
        client: calls it.
        suite: its tasks.
        likelihoods: what asks for log-likelihoods, for the message; None where nothing does.
        encode: text to token ids without special tokens, by the tokenizer of the model that is to be scored.
        longest: the most tokens that the settings or the model allow.

    Raises:
        UserError: the server cannot be reached, wants a key, has no such model, does not give what is needed, or its
            model has another tokenizer.
    """
    served = _served(client)
    lengths = [length for length in (longest, served.get("max_model_len")) if isinstance(length, int)]
    if client.endpoint.api == "chat":
        if suite.gen:
            _try_chat(client)
    else:
        _try_completions(client, likelihoods, encode)
    return Connection(client, min(lengths, default=None))


def _served(client: Client) -> Mapping[str, Any]:
    """What the server says of the model; empty where it has no list of its models.

    Raises:
        UserError: it has a list, in which the model is not.
    """
    try:
        listed = client.get("models")
    except StatusError as error:
        if error.status in (404, 405, 501):
            return {}
        raise
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list) or not entries:
        return {}
    models = {str(entry.get("id")): entry for entry in entries if isinstance(entry, dict)}
    name = client.endpoint.model
    if name not in models:
        raise unknown("evaluation.endpoint.model", name, models, f"the server at {client.endpoint.base_url}")
    return models[name]


def _try_chat(client: Client) -> None:
    """One message, one token."""
    answer = client.post("chat/completions", {
        "model": client.endpoint.model, "messages": [{"role": "user", "content": TRIED}], "max_tokens": 1,
        "temperature": 0,
    })  # fmt: skip
    choice_of(answer, client.endpoint)


def _try_completions(client: Client, likelihoods: str | None, encode: Any) -> None:
    """One prompt of a few tokens; asks for its log-likelihoods, and else for an answer alone."""
    ids = encode(TRIED)
    plain = {"model": client.endpoint.model, "prompt": ids, "max_tokens": 1, "temperature": 0}
    try:
        answer = client.post("completions", {**plain, "echo": True, "logprobs": 1})
        likely_tokens(choice_of(answer, client.endpoint), ids, client.endpoint)
    except (StatusError, LackingError) as error:
        if isinstance(error, StatusError) and error.status not in (400, 422, 501):
            raise
        if likelihoods is not None:
            raise UserError(
                f"{likelihoods} asks how likely given text is, which the server at {client.endpoint.base_url} does not "
                f"say (echo with logprobs: {error}); leave it out of the suite, or set the backend to hf, layers or "
                "vllm"
            ) from None
        choice_of(client.post("completions", plain), client.endpoint)
        return
    _check_tokenizer(answer, ids, client.endpoint)


def _check_tokenizer(answer: Mapping[str, Any], ids: list[int], endpoint: Endpoint) -> None:
    """Refuse a server whose model writes the tokens in other letters."""
    tokens = choice_of(answer, endpoint)["logprobs"].get("tokens")
    if not isinstance(tokens, list) or any(str(token).startswith("token_id:") for token in tokens):
        return
    written = "".join(letter for token in tokens[: len(ids)] for letter in str(token) if letter.isalnum())
    if written != "".join(letter for letter in TRIED if letter.isalnum()):
        raise UserError(
            f"{endpoint.model} at {endpoint.base_url} has another tokenizer than MODEL: it reads its tokens of "
            f"'{TRIED}' as '{''.join(map(str, tokens[: len(ids)]))}'; name the served model's own folder or hub id"
        )


def choice_of(answer: Mapping[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """The one choice of an answer.

    Raises:
        UserError: the answer has none.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UserError(f"{endpoint.base_url} answers without choices; is this a server with OpenAI's interface?")
    choice: dict[str, Any] = choices[0]
    return choice


def likely_tokens(
    choice: Mapping[str, Any], ids: list[int], endpoint: Endpoint
) -> tuple[list[float | None], list[dict[str, float]]]:
    """For each token of an echoed prompt its log-probability and those of the most likely ones.

    Args:
        choice: of the answer.
        ids: the prompt; one more token was generated.
        endpoint: for messages.

    Raises:
        LackingError: they are missing, or not those of the prompt's tokens.
    """
    found = choice.get("logprobs")
    values, best = (found.get(key) for key in ("token_logprobs", "top_logprobs")) if isinstance(found, dict) else (0, 0)
    if not isinstance(values, list) or not isinstance(best, list):
        raise LackingError(f"{endpoint.base_url} answers without log-probabilities")
    if len(values) not in (len(ids), len(ids) + 1) or len(best) != len(values):
        raise LackingError(
            f"{endpoint.base_url} gives {len(values)} log-probabilities for a prompt of {len(ids)} tokens"
        )
    if not all(isinstance(value, int | float) for value in values[1 : len(ids)]) or not all(
        isinstance(value, dict) and value for value in best[1 : len(ids)]
    ):
        raise LackingError(f"{endpoint.base_url} leaves out log-probabilities of the prompt's tokens")
    return values[: len(ids)], best[: len(ids)]
