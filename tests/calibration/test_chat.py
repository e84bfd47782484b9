"""Conversations: their forms, what is refused, and the text that a model's own template makes of them."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ream.calibration import chat as chat_module
from ream.calibration.chat import ChatTemplate
from ream.calibration.contents import content_of, conversation
from ream.calibration.sources import iter_texts
from ream.errors import UserError
from ream.params import FilesSource, HubSource

TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool.name }};{% endfor %}</tools>{{ '\\n' }}{% endif %}"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}[{{ call.function.name }} {{ call.function.arguments.x }}]{% endfor %}"
    "{{ '\\n' }}"
    "{% endfor %}"
)
MESSAGES = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "2"}]
SHARE = [{"from": "human", "value": "What is 1 + 1?"}, {"from": "gpt", "value": "2"}]
TEXT = "<user>What is 1 + 1?\n<assistant>2\n"
CALLING = [
    {"role": "user", "content": [{"type": "text", "text": "Add "}, {"type": "text", "text": "it"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": '{"x": 1}'}}]},
    {"role": "tool", "content": "2", "name": None},
]


@pytest.fixture(scope="module")
def model(tokenizer_folder, tmp_path_factory):
    folder = shutil.copytree(tokenizer_folder, tmp_path_factory.mktemp("chat") / "model")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def render(model):
    return ChatTemplate(model, False).render


def read(path, render, **settings):
    source = FilesSource(kind="files", paths=[str(path)], **({"column": "messages"} | settings))
    return [document.text for document in iter_texts(source, 0, render=render)]


@pytest.mark.parametrize("messages", [MESSAGES, SHARE])
def test_both_forms_of_a_conversation_are_rendered_alike(render, messages):
    assert render(conversation(messages, "row"), None) == TEXT


def test_tool_calls_content_lists_and_tools(render):
    text = render(conversation(CALLING, "row"), [{"name": "add"}, {"name": "sub"}])
    # transformers gives content None where a message has none, which Jinja prints as nothing here: the key is left out
    assert text == "<tools>add;sub;</tools>\n<user>Add it\n<assistant>[add 1]\n<tool>2\n"


def test_files_of_every_format(render, tmp_path):
    rows = [{"messages": MESSAGES, "tools": None}, {"messages": CALLING, "tools": json.dumps([{"name": "add"}])}]
    expected = sorted([TEXT, "<tools>add;</tools>\n<user>Add it\n<assistant>[add 1]\n<tool>2\n"])
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    for name in ("a.jsonl", "b.json"):
        assert sorted(read(tmp_path / name, render, tools="tools")) == expected
    share = {"conversations": [SHARE, SHARE], "n": [1, 2]}
    pq.write_table(pa.table(share), tmp_path / "c.parquet")
    assert read(tmp_path / "c.parquet", render, column="conversations") == [TEXT, TEXT]
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "plain"}) + "\n" + json.dumps({"text": MESSAGES}) + "\n")
    assert sorted(read(tmp_path / "d.jsonl", render, column="text")) == [TEXT, "plain"]


def test_a_data_set_of_the_hub(render, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(json.dumps({"messages": MESSAGES}) + "\n")
    source = HubSource(kind="hub", dataset=str(tmp_path / "set"), column="messages")
    (document,) = iter_texts(source, 0, render=render)
    assert (document.text, document.chat) == (TEXT, True)


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        ([], "row holds a conversation without messages"),
        (["hello"], "row, message 1 is str, not a message"),
        ([{"role": "boss", "content": "x"}], "row, message 1: role is 'boss', which is none of system, developer"),
        ([{"from": "alien", "value": "x"}], "row, message 1: 'from' is 'alien', which is none of system, human"),
        ([MESSAGES[0], {"role": "user"}], "row, message 2: the message of 'user' has no content, only role"),
        ([{"role": "user", "content": 3}], "row, message 1: content is int, not text"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
            "row, message 1: content has a part of type 'image_url'; only text can be calibrated on",
        ),
        ([{"role": "assistant", "tool_calls": ["add"]}], "row, message 1: tool_calls holds str, not"),
    ],
)
def test_what_is_no_conversation_is_refused_by_name(messages, line):
    with pytest.raises(UserError) as error:
        conversation(messages, "row")
    assert str(error.value).startswith(line)


def test_tools_that_are_no_list_and_values_that_are_no_text(render):
    with pytest.raises(UserError, match="row: column 'tools' holds dict, not a list of tools"):
        content_of({"m": MESSAGES, "tools": {}}, "m", "tools", "row", render)
    with pytest.raises(UserError, match="row: column 'm' holds int, not text or a list of messages"):
        content_of({"m": 3}, "m", None, "row", render)
    assert content_of({"m": None}, "m", None, "row", render) == ("", False)


def test_a_model_without_a_template_is_refused(model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": MESSAGES}) + "\n")
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: .*bare has no chat template, so conversations cannot be"):
        read(tmp_path / "a.jsonl", ChatTemplate(bare, False).render)


def test_a_template_that_refuses_or_does_not_end(model, tmp_path, monkeypatch):
    monkeypatch.setattr(chat_module, "CHAT_SECONDS", 1.0)
    picky = shutil.copytree(model, tmp_path / "picky")
    (picky / "chat_template.jinja").write_text(
        "{% if messages[0].content == 'x' %}{{ raise_exception('no x') }}{% endif %}"
    )
    with pytest.raises(UserError, match=r"cannot render this conversation \(TemplateError: no x\)"):
        ChatTemplate(picky, False).render([{"role": "user", "content": "x"}], None)
    (picky / "chat_template.jinja").write_text(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    )
    with pytest.raises(UserError, match="the chat template of the model's tokenizer takes more than 1 s"):
        ChatTemplate(picky, False).render(MESSAGES, None)
