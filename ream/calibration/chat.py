"""A model's chat template, which makes one text of a conversation and its tools."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ream.calibration.contents import Message
from ream.calibration.model_tokenizer import load_tokenizer
from ream.errors import UNUSABLE, UserError, one_line
from ream.machine.bounded import check_bounded

TRIED: list[Message] = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "2"}]
CHAT_SECONDS = 10.0  # in which a template renders two short messages; it takes a thousandth of that


class ChatTemplate:
    """The chat template of a model, loaded when the first conversation comes; importing transformers takes seconds.

    Attributes:
        fingerprint: SHA-256 of the template that was used; None while no conversation has been rendered.
    """

    def __init__(self, folder: Path, trust_remote_code: bool) -> None:
        """Args:
        folder: of the model.
        trust_remote_code: let a tokenizer that the model ships as Python code run.
        """
        self._folder, self._trust, self._tokenizer = folder, trust_remote_code, None
        self.fingerprint: str | None = None

    def render(self, messages: Sequence[Message], tools: Sequence[Any] | None) -> str:
        """The text of a whole conversation, as the model has seen conversations in its training.

        Equivalent to transformers' ``apply_chat_template`` without a generation prompt.

        Args:
            messages: of {role, content} and what else the template reads, such as tool_calls.
            tools: JSON schemas of the functions that the assistant may call; None: none.

        Raises:
            UserError: the model has no chat template, or it does not end on a short conversation, or refuses this one.
        """
        from jinja2 import TemplateError

        if self._tokenizer is None:
            self._load()
        tokenizer: Any = self._tokenizer
        try:
            text: str = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        except (TemplateError, *UNUSABLE) as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise UserError(f"the model's chat template cannot render this conversation ({reason})") from None
        return text

    def _load(self) -> None:
        tokenizer = load_tokenizer(self._folder, self._trust)
        if getattr(tokenizer, "chat_template", None) is None:
            raise UserError(
                f"{self._folder} has no chat template, so conversations cannot be read; put the model's "
                "chat_template.jinja there, or name a column of plain text"
            )
        check_bounded(
            lambda: tokenizer.apply_chat_template(TRIED, tokenize=False),
            "the chat template of the model's tokenizer",
            CHAT_SECONDS,
            remedy="correct it, or name a column of plain text",
        )
        template = tokenizer.get_chat_template()
        self.fingerprint = hashlib.sha256(template.encode()).hexdigest()
        self._tokenizer = tokenizer
