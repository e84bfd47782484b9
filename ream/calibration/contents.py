"""What a column of a row holds, as text: a text, nothing, or a conversation that the model's chat template renders."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ream.errors import UserError
from ream.machine.documents import parse_json

Message = dict[str, Any]
# From messages and the tools that the assistant may call (None: no tools) to the text that the model sees.
Render = Callable[[Sequence[Message], Sequence[Any] | None], str]
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SPEAKERS = {  # of the ShareGPT form, rows of {from, value}
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
    "assistant": "assistant", "bot": "assistant", "model": "assistant", "function_call": "assistant",
    "observation": "tool", "function_response": "tool", "tool": "tool",
}  # fmt: skip
SAID = ("content", "tool_calls", "reasoning_content", "thinking")  # one of these a message must have


class Content(NamedTuple):
    """A row's text, and whether it is a rendered conversation."""

    text: str
    chat: bool = False


def content_of(row: Mapping[str, Any], column: str, tools: str | None, where: str, render: Render | None) -> Content:
    """The text in a column of a row; null is an empty text.

    A list of messages is a conversation: {role, content} as in the chat completions of OpenAI, with ``tool_calls`` if
    there are any, or {from, value} as in ShareGPT.

    Args:
        row: of which the column is there.
        column: name of the column.
        tools: name of the column with the tools of a conversation, as a list or as JSON; None: no tools.
        where: the row, for messages.
        render: the model's chat template.

    Raises:
        UserError: the value is neither text nor a conversation, or there is no template to render it.
    """
    value = row[column]
    if value is None or isinstance(value, str):
        return Content(value or "")
    if not isinstance(value, list):
        raise UserError(f"{where}: column '{column}' holds {type(value).__name__}, not text or a list of messages")
    messages = conversation(value, f"{where}: column '{column}'")
    if render is None:
        raise UserError(f"{where}: column '{column}' holds a conversation, but no model's chat template is at hand")
    try:
        return Content(render(messages, _tools(row, tools, where)), chat=True)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def conversation(value: Sequence[Any], where: str) -> list[Message]:
    """The messages of a conversation, in the form that chat templates read.

    Keys without a value are left out, parts of text are joined, and the arguments of a tool call that are written as
    JSON are read, since templates print them.

    Args:
        value: messages of {role, content} or {from, value}.
        where: of the conversation, for messages.

    Raises:
        UserError: it has no messages, an unknown role, a message without content, or content that is not text.
    """
    if not value:
        raise UserError(f"{where} holds a conversation without messages; leave the row out")
    return [_message(message, f"{where}, message {number}") for number, message in enumerate(value, start=1)]


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise UserError(f"{where} is {type(message).__name__}, not a message {{role, content}} or {{from, value}}")
    given = {key: value for key, value in message.items() if value is not None}
    if "role" not in given and "from" in given:
        speaker = str(given.pop("from"))
        if speaker not in SPEAKERS:
            raise UserError(f"{where}: 'from' is '{speaker}', which is none of {', '.join(SPEAKERS)}")
        given = {"role": SPEAKERS[speaker], "content": given.pop("value", ""), **given}
    role = given.get("role")
    if role not in ROLES:
        raise UserError(f"{where}: role is {role!r}, which is none of {', '.join(ROLES)}")
    if not any(given.get(key) for key in SAID) and "content" not in given:
        raise UserError(f"{where}: the message of '{role}' has no content, only {', '.join(given)}")
    if "content" in given:
        given["content"] = _content(given["content"], where)
    if "tool_calls" in given:
        given["tool_calls"] = [_call(call, where) for call in given["tool_calls"]]
    return given


def _content(content: Any, where: str) -> str:
    """A message's text; parts {type: text, text} are joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UserError(f"{where}: content is {type(content).__name__}, not text")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        if not isinstance(part, dict) or kind != "text" or not isinstance(part.get("text"), str):
            raise UserError(f"{where}: content has a part of type '{kind}'; only text can be calibrated on")
        texts.append(part["text"])
    return "".join(texts)


def _call(call: Any, where: str) -> Any:
    """A tool call whose arguments are a table, where they are written as JSON."""
    if not isinstance(call, dict):
        raise UserError(f"{where}: tool_calls holds {type(call).__name__}, not {{function: {{name, arguments}}}}")
    function = call.get("function", call)
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(arguments, str):
        return call
    try:
        read = json.loads(arguments)
    except (ValueError, RecursionError):
        return call  # templates print a text as it is
    called = {**function, "arguments": read}
    return {**call, "function": called} if "function" in call else called


def _tools(row: Mapping[str, Any], tools: str | None, where: str) -> list[Any] | None:
    """The tools of a conversation; None where there are none."""
    value = row.get(tools) if tools is not None else None
    if isinstance(value, str):
        value = parse_json(value, f"{where}: column '{tools}'") if value.strip() else None
    if value is not None and not isinstance(value, list):
        raise UserError(f"{where}: column '{tools}' holds {type(value).__name__}, not a list of tools")
    return value or None
