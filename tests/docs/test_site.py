"""The site of docs/: built strictly, in a folder without network, with every page and the Python API."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.tiny import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="mkdocs is not installed: make docs"),
]
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | NO_NETWORK, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    assert pages <= {path.stem for path in site.glob("*.html")}
    index = (site / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{page}.html"' in index for page in pages)


def test_pages_that_lie_elsewhere_and_the_api_are_there(site):
    for name in ("about", "CONTRIBUTING", "CHANGELOG", "SECURITY", "LICENSE", "benchmarks-RESULTS"):
        assert (site / "project" / f"{name}.html").exists(), name
    api = (site / "api" / "ream.core.html").read_text(encoding="utf-8")
    assert "ream.core.saliency" in api
    assert "ream.core.merging" in api
    assert (site / "api" / "index.html").exists()


def test_nothing_is_fetched_for_a_page(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="(https?://[^"]+)"', text)
    assert fetched == []
