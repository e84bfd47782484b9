"""Headers of shards: the format's rules, one by one, and hundreds of mutations against safetensors' own reader."""

import json
import os
import random

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ream.errors import UserError
from ream.models.inspection.manifest import source_of
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_header import LONGEST, entries_of
from ream.models.storage.shard_source import local_header
from tests.models.storage.fake_hub import NAME, serving
from tests.models.storage.strangers import entry, mutated, shard, within
from tests.models.storage.test_checkpoint import refused

SECONDS = 5.0  # more than any header may take


def entries(path):
    header = local_header(path)
    return entries_of(str(path), header.raw, header.size)


def accepts(path):
    """Whether safetensors' own reader opens a file."""
    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError, ValueError):
        return False
    return True


A, B = entry(0, 8), entry(8, 16)
DEEP = "[" * 100_000 + "]" * 100_000
BROKEN = {
    "overlap": ({"a": A, "b": entry(4, 12)}, 12, "b: it overlaps the tensor before it: it begins at byte 4"),
    "the same place twice": ({"a": A, "b": A}, 8, "b: it overlaps the tensor before it"),
    "hole": ({"a": A, "b": entry(12, 20)}, 20, "b: it leaves a hole: it begins at byte 12 of the data, not at 8"),
    "hole at the start": ({"a": entry(4, 12)}, 12, "a: it leaves a hole"),
    "data after the last": ({"a": A}, 9, "its header describes"),
    "data end early": ({"a": A, "b": B}, 12, "its header describes"),
    "no tensor, but data": ({}, 4, "its header describes"),
    "an empty tensor inside another": ({"a": entry(0, 8), "e": entry(4, 4)}, 8, "e: it overlaps"),
    "size too small": ({"a": entry(0, 8, [3])}, 8, "a: it has 8 bytes, but F32 [3] needs 12"),
    "size too large": ({"a": entry(0, 8, [1])}, 8, "a: it has 8 bytes, but F32 [1] needs 4"),
    "scalar": ({"a": entry(0, 8, [])}, 8, "a: it has 8 bytes, but F32 [] needs 4"),
    "size of another dtype": ({"a": entry(0, 8, [2], "F16")}, 8, "F16 [2] needs 4"),
    "reversed": ({"a": entry(8, 0, [2])}, 8, "a: its data_offsets"),
    "negative offset": ({"a": entry(-8, 0, [2])}, 8, "a: its data_offsets"),
    "three offsets": ({"a": A | {"data_offsets": [0, 8, 8]}}, 8, "a: its data_offsets"),
    "offsets not whole": ({"a": A | {"data_offsets": [0.0, 8.0]}}, 8, "a: its data_offsets"),
    "offsets are booleans": ({"a": entry(0, 1, [1], "U8") | {"data_offsets": [False, True]}}, 1, "a: its data_offsets"),
    "offsets no list": ({"a": A | {"data_offsets": "08"}}, 8, "a: its data_offsets"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, 8, "a: its data_offsets"),
    "negative shape": ({"a": entry(0, 8, [-1, -2])}, 8, "a: its shape"),
    "shape not whole": ({"a": entry(0, 8, [2.0])}, 8, "a: its shape"),
    "shape no list": ({"a": entry(0, 8, 2)}, 8, "a: its shape"),
    "shape of booleans": ({"a": entry(0, 4, [True])}, 4, "a: its shape"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8, "a: its shape"),
    "product beyond 64 bits": ({"a": entry(0, 0, [1 << 40, 1 << 40, 0])}, 0, "a: its shape is too large"),
    "no dtype": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8, "a has dtype None"),
    "dtype is a list": ({"a": A | {"dtype": ["F32"]}}, 8, "a has dtype ['F32']; supported are F64"),
    "unknown dtype": ({"a": A | {"dtype": "F33\n"}}, 8, "a has dtype 'F33\\n'"),
    "tensor is a list": ({"a": [0, 8]}, 8, "a: it is not described by an object"),
    "tensor is null": ({"a": None}, 0, "a: it is not described by an object"),
    "a name of two lines": ({"a\nb": A}, 8, "'a\\nb': its name has characters"),
    "half a character as a name": ('{"\\ud800":' + json.dumps(A) + "}", 8, "'\\ud800': its name has characters"),
    "a name of ten thousand letters": ({"n" * 10_000: entry(0, 8, [1])}, 8, "needs 4"),
    "name twice": ('{"a":' + json.dumps(A) + ',"a":' + json.dumps(B) + "}", 16, "the name a is there twice"),
    "name twice, equal": ('{"a":' + json.dumps(A) + ',"a":' + json.dumps(A) + "}", 8, "the name a is there twice"),
    "shape twice": ('{"a":{"shape":[2],"shape":[2],"dtype":"F32","data_offsets":[0,8]}}', 8, "shape is there twice"),
    "metadata twice": ('{"__metadata__":{},"__metadata__":{},"a":' + json.dumps(A) + "}", 8, "__metadata__ is there"),
    "metadata of numbers": ({"__metadata__": {"x": 1}, "a": A}, 8, "__metadata__ is not an object of strings"),
    "metadata nested": ({"__metadata__": {"x": {}}, "a": A}, 8, "__metadata__ is not an object of strings"),
    "metadata a list": ({"__metadata__": ["x"], "a": A}, 8, "__metadata__ is not an object of strings"),
    "half a character": ('{"__metadata__":{"x":"\\udc00"}}', 0, "__metadata__ is not an object of strings"),
    "list": ([A], 8, "does not begin with '{'"),
    "space before": (" {}", 0, "does not begin with '{'"),
    "byte order mark": (b"\xef\xbb\xbf{}", 0, "does not begin with '{'"),
    "empty": (b"", 0, "does not begin with '{'"),
    "not UTF-8": (b'{"\xff":1}', 0, "not valid JSON"),
    "UTF-16": ("{}".encode("utf-16-le"), 0, "not valid JSON"),
    "two objects": ("{}{}", 0, "not valid JSON"),
    "cut": ('{"a":', 0, "not valid JSON"),
    "NaN": ('{"a":NaN}', 0, "NaN is not JSON"),
    "infinity": ('{"a":-Infinity}', 0, "-Infinity is not JSON"),
    "a number of 100,000 digits": ('{"a":' + "9" * 100_000 + "}", 0, "not valid JSON"),
    "a number of 4,000 digits": ({"a": entry(0, 8, [10**4000 - 1])}, 8, "a: its shape"),
    "nested lists": ('{"a":' + DEEP + "}", 0, "nested too deeply"),
    "nested objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, 0, "nested too deeply"),
    "many open brackets": ('{"a":' + "[" * 1_000_000, 0, "nested too deeply"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_rule_is_a_line_that_names_file_tensor_and_rule(case, tmp_path):
    header, data, words = BROKEN[case]
    (tmp_path / "x.safetensors").write_bytes(shard(header, data))
    with within(SECONDS):
        message = refused(lambda: entries(tmp_path / "x.safetensors"), str(tmp_path / "x.safetensors"), words)
    assert message.isprintable()
    assert len(message) < 1000 + len(str(tmp_path))


SOUND = {
    "nothing": ({}, 0),
    "one": ({"a": A}, 8),
    "in another order": ({"b": B, "a": A}, 16),
    "empty tensors between": ({"e": entry(8, 8, [0, 5]), "b": B, "a": A, "f": entry(0, 0)}, 16),
    "scalar": ({"a": entry(0, 4, [])}, 4),
    "bytes": ({"a": entry(0, 3, [3], "U8"), "b": entry(3, 5, [2], "BOOL")}, 5),
    "metadata": ({"__metadata__": {"format": "pt", "é": "漢"}, "a": A}, 8),
    "no metadata": ({"__metadata__": None, "a": A}, 8),
    "padding": ('{"a":' + json.dumps(A) + "}      ", 8),
    "a key that later formats may have": ({"a": A | {"later": [1, {"x": None}]}}, 8),
    "a name with spaces and dots": ({"модель . 1": A, "": B}, 16),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_the_format_allows_is_read_as_safetensors_reads_it(case, tmp_path):
    header, data = SOUND[case]
    generator = torch.Generator().manual_seed(0)
    values = bytes(torch.randint(0, 2, (data,), generator=generator, dtype=torch.uint8).tolist())
    path = tmp_path / "model.safetensors"
    path.write_bytes(shard(header, values))
    (tmp_path / "config.json").write_text("{}")
    read, expected = Checkpoint(tmp_path), load_file(path)
    assert read.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(read.read(name), tensor)
        assert read.read(name).dtype == tensor.dtype


@pytest.mark.parametrize("case", BROKEN)
def test_safetensors_refuses_the_same(case, tmp_path):
    """But for what its reader lets pass and the format, or a line on a screen, does not."""
    header, data, _ = BROKEN[case]
    (tmp_path / "x").write_bytes(shard(header, data))
    beyond = {"name twice, equal", "a name of two lines", "space before"}
    assert accepts(tmp_path / "x") == (case in beyond)


MUTATIONS = 600
# Words of messages about what safetensors' reader accepts.
STRICTER = ("is there twice", "supported are", "cannot be printed", "does not begin with '{'", "NaN or Inf")


@pytest.mark.slow
def test_mutations_are_read_as_safetensors_does_or_refused_in_a_line(tmp_path):
    """Of 600 mutated files, none is accepted that safetensors' reader refuses; reasons to refuse others are listed."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "e": torch.zeros(0, 4)}
    path, draw, counts = tmp_path / "model.safetensors", random.Random(0), {True: 0, False: 0}
    save_file(tensors | {"n": torch.tensor(3)}, path, metadata={"format": "pt"})
    (tmp_path / "config.json").write_text("{}")
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    text = whole[8 : 8 + length].decode()
    for number in range(MUTATIONS):
        changed = text
        for _ in range(draw.choice([1, 1, 2])):
            try:
                changed = mutated(changed, draw)
            except (ValueError, IndexError):  # no JSON any more, or no digit
                break
        path.write_bytes(shard(changed, whole[8 + length :]))
        sound = accepts(path)
        try:
            with within(SECONDS):
                read = Checkpoint(tmp_path)
                values = {name: read.read(name) for name in read.tensors}
        except UserError as error:
            message, values = str(error), None
        counts[values is not None] += 1
        if values is None:
            assert message.isprintable(), (number, changed)
            assert not sound or any(words in message for words in STRICTER), (number, changed, message)
            continue
        assert sound, (number, changed)
        expected = load_file(path)
        assert values.keys() == expected.keys()
        assert all(torch.equal(values[name], expected[name]) for name in expected), (number, changed)
    assert min(counts.values()) >= 20, counts


def test_lengths_of_headers(tmp_path):
    path, whole = tmp_path / "x.safetensors", shard({"a": A}, 8)
    for length in (len(whole) - 7, 1 << 32, (1 << 64) - 1):
        path.write_bytes(length.to_bytes(8, "little") + whole[8:])
        refused(lambda: entries(path), str(path), f"({len(whole)} bytes)", "does not fit into the file")
    path.write_bytes((LONGEST + 1).to_bytes(8, "little"))
    os.truncate(path, 8 + LONGEST + 1)  # a sparse file
    with within(SECONDS):
        refused(lambda: entries(path), str(path), "its header has 100,000,001 bytes, the format allows 100,000,000")


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing"])
@pytest.mark.parametrize("which", ["model.safetensors", "config.json", "model.safetensors.index.json"])
def test_what_is_no_file(which, kind, checkpoint, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    path = tmp_path / which
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with within(SECONDS):
        if kind == "link to nothing" and "index" in which:
            assert list(Checkpoint(tmp_path).tensors) == ["a"]
        else:
            refused(lambda: Checkpoint(tmp_path), which, "regular" if kind != "link to nothing" else "")


@pytest.mark.parametrize("case", ["overlap", "hole", "name twice", "size too small", "nested lists", "metadata twice"])
def test_the_hubs_ranges_obey_the_same_rules(case, tmp_path, monkeypatch):
    header, data, words = BROKEN[case]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(shard(header, data))
    with serving(folder, tmp_path / "cache", monkeypatch):
        refused(lambda: Checkpoint(source_of(NAME)), f"{NAME}@", "/model.safetensors", words)


def test_a_hub_that_sends_less_than_the_header_or_no_size(tmp_path, monkeypatch):
    from ream.models.storage import hub_ranges
    from ream.models.storage.hub import explained

    whole = shard({"a": A}, 8)
    monkeypatch.setattr(hub_ranges, "_range", lambda url, begin, end: (whole[begin : min(end, 20)], len(whole), "x"))
    refused(lambda: hub_ranges.remote_header(NAME, "less", "x.safetensors"), "x.safetensors", "ends within its header")
    monkeypatch.undo()

    class Answer:
        status_code, history = 206, ()

        def __init__(self, size):
            self.headers = {"Content-Range": f"bytes 0-99/{size}"}

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def iter_bytes(self, size):
            yield whole

    monkeypatch.setattr("huggingface_hub.utils.hf_raise_for_status", lambda response: None)
    for size in ("*", "", "-5", "9" * 5000):
        monkeypatch.setattr("huggingface_hub.utils.http_stream_backoff", lambda *_, size=size, **__: Answer(size))

        def ask(size=size):
            with explained(NAME, "a header"):
                hub_ranges.remote_header(NAME, f"none{len(size)}", "x.safetensors")

        refused(ask, NAME, "does not give the file's size")
