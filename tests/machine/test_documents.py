"""Small files that others wrote: what is refused and how soon; and no other module opens such files by itself."""

import ast
import os
import socket
from pathlib import Path

import pytest
import yaml

import ream
from ream.machine import documents
from ream.machine.documents import depth_exceeds, parse_json, parse_yaml, read_bytes, read_text, read_yaml
from tests.models.storage.strangers import within
from tests.models.storage.test_checkpoint import refused
from tests.subsets import some_slow

SECONDS = 5.0
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML = {
    "aliases that multiply": (BOMB, "has more than 20,000 values"),
    "many values": ("a: [" + "1," * 100_001 + "]", "has more than 20,000 values"),
    "a list in itself": ("a: &a [*a]", "a value that contains itself"),
    "a table in itself": ("a: &a {b: {c: *a}}", "a value that contains itself"),
    "nested lists": ("[" * 5_000, "is nested too deeply"),
    "nested 101 deep": ("[" * 102 + "]" * 102, "nested more than 100 levels deep"),
    "a number of 5,000 digits": ("a: " + "7" * 5_000, "a number of 5000 characters"),
    "a sexagesimal number": ("a: " + "1" + ":59" * 5_000, "a number of 15001 characters"),
    "a number that is none": ("a: !!int x", "is not valid YAML"),
    "an impossible date": ("a: 2026-99-99", "is not valid YAML: month must be in 1..12"),
    "two documents": ("a: 1\n---\nb: 2", "is not valid YAML"),
    "a tag that runs code": ("a: !!python/object/apply:os.system [exit 1]", "is not valid YAML"),
    "cut": ("a: [1, ", "is not valid YAML"),
    "a null character": ("a: \0", "is not valid YAML"),
    "a list as a key": ("? [a]\n: 1", "is not valid YAML"),
    "half a character": ('a: "\\ud800"', "half of a surrogate pair"),
    "merging what is no table": ("a: {<<: 3}", "is not valid YAML"),
}


@pytest.mark.parametrize(
    "case", some_slow(YAML, keep=[case for case in YAML if case not in ("many values", "nested lists")])
)
def test_yaml_that_is_refused(case, tmp_path):
    text, words = YAML[case]
    (tmp_path / "params.yaml").write_text(text)
    with within(SECONDS):
        message = refused(lambda: read_yaml(tmp_path / "params.yaml"), f"{tmp_path / 'params.yaml'} ", words)
    assert message.isprintable()
    assert len(message) < 400 + len(str(tmp_path))


def test_yaml_as_the_library_reads_it(tmp_path):
    for text in ("", "3", "a: &a {b: [1, 2.5, yes, ~]}\nc: *a\nd: {<<: *a, e: 2026-01-01}", "[" * 100 + "]" * 100):
        assert parse_yaml(text, "x") == yaml.safe_load(text)
    shared = parse_yaml("a: &a {b: 1}\nc: *a", "x")
    assert shared["a"] is shared["c"]
    own = Path("params.yaml").read_text()
    assert parse_yaml(own, "params.yaml") == yaml.safe_load(own)


JSON = {
    "a number of 5,000 digits": ("7" * 5_000, "Exceeds the limit"),
    "nested without end": ("[" * 100_000, "nested too deeply"),
    "nested 101 deep": ("[" * 101 + "]" * 101, "nested more than 100 levels deep"),
    "cut": ('{"a":', "is not valid JSON"),
    "not UTF-8": (b'"\xff"', "is not valid JSON"),
    "half a character": ('{"a": ["\\uD83d"]}', "half of a surrogate pair"),
    "half a character in a key": ('{"\\udc00": 1}', "half of a surrogate pair"),
    "UTF-16": ("{}".encode("utf-16"), "is not valid JSON"),
}


@pytest.mark.parametrize("case", JSON)
def test_json_that_is_refused(case):
    text, words = JSON[case]
    with within(SECONDS):
        refused(lambda: parse_json(text, "facts.json"), "facts.json ", words)


def test_json_as_the_library_reads_it():
    assert parse_json('{"a": [1, 2.5, null, true, "é"]}', "x") == {"a": [1, 2.5, None, True, "é"]}
    assert parse_json('"\\ud83d\\ude00 \\\\ud83d"', "x") == "😀 \\ud83d"
    assert parse_json("[" * 100 + "]" * 100, "x")[0][0] == [*parse_json("[" * 98 + "]" * 98, "x")]


@pytest.mark.parametrize(
    ("value", "most", "exceeds"), [(3, 0, False), ([], 0, True), ([[]], 1, True), ([[]], 2, False)]
)
def test_depth(value, most, exceeds):
    assert depth_exceeds(value, most) == exceeds


def test_what_is_no_file_is_never_waited_for(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening, within(SECONDS):
        listening.bind(str(tmp_path / "socket")[-100:] if len(str(tmp_path)) < 90 else "socket")
        for path in (tmp_path / "folder", tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), Path("/dev/tty")):
            if path.exists():
                refused(lambda path=path: read_bytes(path), str(path), "is not a regular file")
    refused(lambda: read_bytes(tmp_path / "none"), "none does not exist")
    refused(lambda: read_bytes("a\0b"), "'a\\x00b' is not the name of a file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(lambda: read_bytes(tmp_path / "loop"), "loop cannot be read")


def test_sizes(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"12345678")
    assert read_bytes(path, 8) == b"12345678"
    refused(lambda: read_bytes(path, 7), "x has more than", "MiB")
    os.truncate(path, documents.MOST_BYTES + 1)  # a sparse file
    refused(lambda: read_bytes(path), "x has more than 256 MiB")
    refused(lambda: read_yaml(path), "x has more than 0.5 MiB")
    path.write_bytes(b"abc\xff")
    refused(lambda: read_text(path), "x is not text in UTF-8 (at byte 3)")


# Calls that read a file's content, or parse one, and the modules that have a reason to make them.
READERS = {"read_text", "read_bytes", "loads", "load", "safe_load", "full_load", "get_single_data"}
PARSERS = {"json", "yaml"}
ALLOWED = {
    "calibration/contents.py": "arguments of a tool call, one text of a conversation",
    "evaluation/backends/endpoint_lm.py": "messages that lm-eval made, of the prompt of a chat",
    "search/helpers.py": "the settings that the process which starts it hands over",
    "machine/documents.py": "the module itself",
    "machine/memory.py": "/proc",
    "machine/bounded.py": "/proc",
    "machine/starter.py": "/proc",
    "machine/differences.py": "what it has just written itself",
    "evaluation/livecodebench/supervisor.py": "/proc and its own arguments; runs without the rest of ream",
    "evaluation/livecodebench/sandbox.py": "/proc",
    "evaluation/livecodebench/program.py": "its own arguments; runs inside the sandbox",
    "evaluation/livecodebench/checker.py": "what programs print, a wrong answer if it is not JSON",
    "code/links.py": "ream's own sources",
    "calibration/builtin.py": "the documentation and sources of the Python installation",
    "code/sources.py": "ream's own sources, and a cache that is discarded if it is damaged",
    "models/storage/shard_header.py": "headers, with the format's own rules",
    "models/quantization/config.py": "the text of config.json, which was read before",
    "models/storage/shard_writing.py": "headers, which were read before",
    "recipe/config.py": "the text of config.json, which was read before",
    "recipe/output_companions.py": "the text of config.json, which was read before",
    "recipe/verify.py": "headers, which were read before",
    "walk/ranks.py": "messages of the other ranks; tensors",
    "analysis/html/page.py": "templates that come with ream",
}


def readers(path):
    """The calls in a module that read or parse files: ``x.read_text()``, ``json.loads()`` and the like."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
            parser = node.func.value.id if isinstance(node.func.value, ast.Name) else None
            if node.func.attr.startswith("read_") or parser in PARSERS:
                yield node.func.attr


def test_no_other_module_reads_small_files_by_itself():
    root = Path(ream.__file__).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if list(readers(path))}
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()


def test_a_reader_is_found(tmp_path):
    (tmp_path / "x.py").write_text("import json\nfrom pathlib import Path\njson.loads(Path('x').read_text())\n")
    assert sorted(readers(tmp_path / "x.py")) == ["loads", "read_text"]
