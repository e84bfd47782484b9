"""Entries of dvc.lock, byte for byte as DVC writes them."""

import pytest
from dvc.utils.serialize import modify_yaml

from flows.lock_file import write_entry


def entry(command, **params):
    outs = [{"path": "o", "hash": "md5", "md5": "d41d8cd98f00b204e9800998ecf8427e", "size": 0}]
    return {"cmd": command, "params": {"params.yaml": params}, "outs": outs}


ENTRIES = [
    ("b", entry("x")),
    (
        "a@1",
        entry("y " * 90, small=1e-05, large=1e16, whole=1.0, text="1e-05", nested={"k": [1, [2.5, None]], "e": []}),
    ),
    ("007", entry("z", text="a: b # c", lines="one\n\ntwo\n", yes="yes", true=True, letter="é")),
    ("null", entry(["one", "two"], empty={}, date="2020-01-01")),
    ("a@1", entry("shorter")),
    ("b", entry("x", more=["# no comment", "- no item"])),
    ("a", entry("prefix of another")),
    ("b", entry("x")),
]


def by_dvc(path, name, value):
    """What `Lockfile.dump_stages` does."""
    with modify_yaml(path) as whole:
        if not whole:
            whole.update({"schema": "2.0"})
        whole["stages"] = whole.get("stages", {})
        whole["stages"].update({name: value})


def test_the_bytes_are_those_of_dvc(tmp_path):
    ours, dvcs = tmp_path / "ours", tmp_path / "dvcs"
    for name, value in ENTRIES:
        write_entry(ours, name, value)
        by_dvc(dvcs, name, value)
        assert ours.read_bytes() == dvcs.read_bytes()


def test_the_rest_of_the_file_is_not_parsed(tmp_path, monkeypatch):
    import dvc.utils.serialize

    path = tmp_path / "dvc.lock"
    write_entry(path, *ENTRIES[0])
    monkeypatch.delattr(dvc.utils.serialize._yaml, "parse_yaml_for_update")
    write_entry(path, *ENTRIES[1])
    write_entry(path, *ENTRIES[5])
    assert path.read_text().count("\n  b:\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "# by hand\nschema: '2.0'\nstages:\n  b:\n    cmd: old\n",
        "schema: '2.0'\nstages:\n  # by hand\n  b:\n    cmd: old\n",
        "schema: '2.0'\nstages:\n    b:\n        cmd: old\n",
        "schema: '2.0'\nstages:\n  'b':\n    cmd: old\n",
        "schema: '2.0'\nstages:\n  b: {cmd: old}\n",
        "schema: '2.0'\nstages: {}\n",
        "schema: '2.0'\ndatasets: []\nstages:\n  b:\n    cmd: old\n",
        "schema: '2.0'\nstages:\n  b:\n    cmd: |\n      old\n\n      older\n",
        "",
    ],
)
def test_a_file_in_another_form_is_left_to_dvcs_parser(tmp_path, text):
    ours, dvcs = tmp_path / "ours", tmp_path / "dvcs"
    ours.write_text(text)
    dvcs.write_text(text)
    write_entry(ours, *ENTRIES[0])
    by_dvc(dvcs, *ENTRIES[0])
    assert ours.read_bytes() == dvcs.read_bytes()
