"""`dvc metrics` and `dvc exp show` fit a terminal, and a fresh clone has the metrics."""

import json
import shutil

import pytest
import yaml

from tests.graphs import ROOT, dvc, run
from tests.views import METHODS, SIZES, build_views, git

pytestmark = pytest.mark.slow
WIDTH = 120
EXPERIMENTS = ("exp", "show", "--only-changed", "--drop", "artifacts|Created")
MIXES = list(yaml.safe_load((ROOT / "params.yaml").read_text())["mixes"])


@pytest.fixture(scope="module", autouse=True)
def _no_columns():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A committed run and an experiment with a better ratio, which the workspace then has."""
    folder = build_views(tmp_path_factory.mktemp("views") / "graph")
    dvc(folder, "exp", "run", "--quiet", "--name", "less-code", "--set-param", "mixes.balanced.code=0.25")
    return folder


def table(text):
    """The rows of a Markdown table, the head among them."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in (lines[0], *lines[2:])]


def width(text):
    return max(map(len, text.splitlines()))


def test_the_headline_is_one_row(folder):
    rows = table(dvc(folder, "metrics", "show", "--md"))
    measures = [f"{name}{size}" for name in ("GEN", "MC") for size in ("", "@16", "@24")]
    assert rows[0] == ["Path", *measures, "best@16", "best@24", "loss", "loss@16", "loss@24"]
    assert rows[1:] == [
        [
            "metrics/headline.json",
            "75.0",
            "51.0",
            "63.0",
            "80.0",
            "64.0",
            "72.0",
            "neurons-refit",
            "neurons-refit",
            "2.25",
            "3.05",
            "2.65",
        ]
    ]


def test_a_row_for_each_model(folder):
    text = dvc(folder, "metrics", "show", "metrics/models")
    assert width(text) <= WIDTH
    head, *rows = table(dvc(folder, "metrics", "show", "metrics/models", "--md"))
    assert head == ["Path", "AVG", "GB", "GEN", "MC", "experts", "loss", "recovery"]
    paths = [f"{mix}/{experts}-{method}" for mix in sorted(MIXES) for experts in (16, 24) for method in sorted(METHODS)]
    assert [row[0] for row in rows] == [f"metrics/models/{path}.json" for path in (*paths, "original")]
    assert len(paths) == len(MIXES) * len(METHODS) * len(SIZES)
    assert rows[-1][1:] == ["77.5", "0.01024", "75.0", "80.0", "32", "2.25", "100.0"]


def test_a_fresh_clone_compares_runs(folder, tmp_path):
    after = shutil.copytree(folder, tmp_path / "after", symlinks=True)
    git(after, "add", "--all")
    git(after, "commit", "-q", "-m", "another run")
    git(tmp_path, "clone", "-q", str(after), "clone")
    clone = tmp_path / "clone"
    assert dvc(clone, "metrics", "show") == dvc(folder, "metrics", "show"), "without DVC's cache"
    diff = json.loads(dvc(clone, "metrics", "diff", "HEAD~1", "--json"))["metrics/headline.json"]
    assert diff["MC@24"] == {"old": 71.6, "new": 72.0, "diff": pytest.approx(0.4)}
    assert "MC" not in diff, "the original is the same"
    rows = json.loads(dvc(clone, "metrics", "diff", "HEAD~1", "--json", "--targets", "metrics/models"))
    assert set(rows) == {f"metrics/models/balanced/{size}-{method}.json" for size in SIZES for method in METHODS}
    assert git(clone, "status", "--short") == ""


def test_experiments_show_the_headline_and_fit_a_terminal(folder):
    head, *rows = table(dvc(folder, *EXPERIMENTS, "--md"))
    assert head == [
        "Experiment",
        *(f"{name}@{size}" for size in (24, 16) for name in ("MC", "GEN", "loss")),
        "mixes.balanced.code",
    ]
    assert width(dvc(folder, *EXPERIMENTS, "--md")) <= WIDTH
    assert [row[-1] for row in rows if "less-code" in row[0]] == ["0.25"]
    result = run(folder, "env", f"COLUMNS={WIDTH}", "dvc", *EXPERIMENTS, "--no-pager")
    assert "…" not in result.stdout
    assert width(result.stdout) <= WIDTH
    metrics = json.loads(dvc(folder, "exp", "show", "--json"))[0]["data"]["metrics"]
    assert list(metrics) == ["metrics/headline.json"], "the models' metrics are no columns"
