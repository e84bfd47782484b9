"""ream.json: what is read is what was written, in the same bytes each time."""

import json

from ream import __version__
from ream.recipe.contents import CONTENTS, Contents, Written, read_contents, write_contents


def test_round_trip(tmp_path):
    files = {"b": Written(2, "22"), "a": Written(1, "11")}
    write_contents(tmp_path, 7, 1000, files)
    text = (tmp_path / CONTENTS).read_text()
    assert list(json.loads(text)) == ["format", "ream", "tensors", "parameters", "files"]
    assert list(json.loads(text)["files"].items()) == [
        ("a", {"bytes": 1, "sha256": "11"}),
        ("b", {"bytes": 2, "sha256": "22"}),
    ]
    assert read_contents(tmp_path) == Contents(__version__, 7, 1000, files)
    write_contents(tmp_path, 7, 1000, dict(sorted(files.items())))
    assert (tmp_path / CONTENTS).read_text() == text
