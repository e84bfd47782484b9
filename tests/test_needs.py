"""The benchmark of what is needed, on a very small model."""

import re

import pytest

from benchmarks import needs


@pytest.mark.slow
def test_all_tables_have_every_variant_and_its_ratio_to_the_first(capsys):
    sizes = {"layers": 1, "experts": 16, "hidden": 32, "width": 16, "tokens": 1024, "sequential-tokens": 2048}
    needs.main([f"--{name}={value}" for name, value in {**sizes, "sample": 512, "repeats": 1}.items()])
    rows = re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \|$", capsys.readouterr().out, re.MULTILINE)
    assert [row[0] for row in rows] == [
        "everything", "`reap`: norms alone", "`frequency`: counts alone, the layer's own experts",
        "computed again", "kept", "computed again", "kept", "dense_tokens: all", "dense_tokens: 512",
    ]  # fmt: skip
    assert [float(rows[first][2]) for first in (0, 3, 5, 7)] == [1.0] * 4
