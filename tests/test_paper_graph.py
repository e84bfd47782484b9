"""The paper's whole grid, params/paper-demo.yaml, on a tiny model: it runs; a changed ratio re-runs only its mix."""

from pathlib import Path

import pytest
import yaml

from ream.params.reading import read_tree
from tests.graph_edits import cells
from tests.graphs import PUBLISHED, ROOT, build_graph, dvc, ran, run_all, write_texts

SIZES = {6: 4, 4: 8}  # experts kept, of 8, to C
METHODS = ("frequency", "ean", "reap", "m-smoe", "hc-smoe")


def as_in_the_paper(folder: Path) -> None:
    """Write params.yaml: the grid of paper-demo.yaml on the folder's tiny model and text, with a minimal suite."""
    tree = read_tree(ROOT / "params" / "paper-demo.yaml")
    tree["model"]["path"] = "model"
    tree["calibration"] = {"sequences": 6, "tokens": 16, "seed": 0}
    texts = {"general": "prose", "math": "sums", "code": "code"}
    tree["sources"] = {name: {"kind": "files", "paths": [f"texts/{text}/*.txt"]} for name, text in texts.items()}
    tree["local"] = {"model": "model", "published": PUBLISHED} | {name: f"texts/{text}" for name, text in texts.items()}
    write_texts(folder, "sums", "one plus one is two. ")
    tree["statistics"] = {"probes": 32}
    tree["grouping"] = {"group_size": SIZES}
    tree["suites"] = {"demo": {"loss": ["code"], "loss_sequences": 2, "loss_tokens": 16}}
    tree["run"]["experts"] = list(SIZES)
    tree["rank"] = {"sequences": 2}
    tree["report"]["published"] = PUBLISHED
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_changed_ratio_runs_its_mix_and_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_graph(tmp_path / "graph")
    as_in_the_paper(folder)
    monkeypatch.chdir(folder)
    assert len(run_all(folder)) == 578
    assert ran(dvc(folder, "repro")) == set(), "nothing is left to do"
    before = (folder / "reports" / "results.csv").read_text().splitlines()
    assert len(before) == 1 + 1 + 13 * 12 + 3 * 12
    params = (folder / "params.yaml").read_text()
    mix = "  math-heavy:\n    general: {}\n    math: {}"
    changed = params.replace(mix.format(0.1, 0.8), mix.format(0.3, 0.6))
    assert changed != params
    (folder / "params.yaml").write_text(changed)
    expected = {"mixture@math-heavy", "saliency@math-heavy", "rank@math-heavy", "metrics", "report"}
    expected |= cells(["math-heavy"], list(SIZES), METHODS, ["ream"])
    assert ran(dvc(folder, "repro")) == expected
    after = (folder / "reports" / "results.csv").read_text().splitlines()
    differing = [old for old, new in zip(before, after, strict=True) if old != new]
    assert differing
    assert all(line.startswith("math-heavy ") for line in differing)
    assert (folder / "reports" / "tables" / "table-5.csv").exists()
