"""Section evaluation.endpoint: the server that answers for a model."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ream.params.section import Section


class Endpoint(Section):
    """A server with OpenAI's interface, such as vLLM's or SGLang's.

    Its key is no setting: it is read from the environment (`ream.evaluation.backends.client.KEY`).
    """

    base_url: str = Field(description="up to the version, as in http://node7:8000/v1")
    model: str = Field(min_length=1, description="the name under which the server has the model")
    api: Literal["completions", "chat"] = Field(
        "completions", description="completions takes tokens, with the chat template applied here; chat takes messages"
    )
    concurrency: int = Field(16, ge=1, le=1024, description="requests at a time")
    retries: int = Field(
        5, ge=0, le=100, description="further attempts after 429, 5xx, a time-out or a lost connection"
    )
    timeout: float = Field(600, gt=0, description="seconds until an answer has to be there")

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str) -> str:
        """Without the slash at its end."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it has to be a URL such as http://node7:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("it holds a name, a key or a query; leave them out, and give a key in REAM_ENDPOINT_KEY")
        path = parts.path.rstrip("/")
        if path.endswith("/completions"):
            raise ValueError("it names a single call; end it with the version, as in http://node7:8000/v1")
        return url.rstrip("/")
