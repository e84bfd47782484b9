"""A release has one version and one date: of the package, the changelog and the citation; and its files are valid."""

import re
import tomllib

import yaml

import ream
from tests.tiny import ROOT


def test_version_and_date_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, date = re.fullmatch(r"(\S+) \((\d{4}-\d\d-\d\d)\)", headings[0]).groups()
    assert (version, date) == (ream.__version__, citation["date-released"])
    assert citation["version"] == version


def test_the_licence_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_ci_runs_what_a_fresh_clone_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    steps = workflow["jobs"]["ci"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert oldest in [step.get("with", {}).get("python-version") for step in steps]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_issue_forms_have_what_github_needs():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yaml"):
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(form), path
        for field in form["body"]:
            assert field["type"] in {"textarea", "input", "markdown"}, path
            assert field["type"] == "markdown" or field["attributes"]["label"], path
