"""Versions of libraries, the JSON of a fingerprint, what differs between two, and the cache."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

from ream.code import libraries, sources
from ream.code.code import Code
from ream.code.fingerprint import explain
from tests.code.packages import fingerprint, write

FILES = {
    "main.py": "import numpy as np\nfrom p.a import f\ndef run(): return np.ones(f())",
    "a.py": "import json\ndef f(): return 1\ndef g():\n    from scipy import optimize",
}


def test_libraries_that_the_code_imports(tmp_path):
    installed = importlib.metadata.version
    assert fingerprint(tmp_path, FILES).libraries == {"numpy": installed("numpy")}
    found = fingerprint(tmp_path, FILES, "p.main:run", "p.a:g").libraries
    assert found == {"numpy": installed("numpy"), "scipy": installed("scipy")}


def test_libraries_that_others_bring(monkeypatch):
    monkeypatch.setitem(libraries.LIBRARIES, "made_up", ("no-such-distribution",))
    found = libraries.versions(["transformers", "made_up", "json"])
    assert list(found) == ["no-such-distribution", "numpy", "tokenizers", "torch", "transformers"]
    assert found["no-such-distribution"] is None
    assert found["torch"] == importlib.metadata.version("torch")


def test_what_differs(tmp_path):
    old = fingerprint(tmp_path / "old", FILES).as_json()
    assert explain(old, json.loads(json.dumps(old))) == []
    edited = FILES | {"a.py": "def f(): return g()\ndef g(): return 2"}
    new = fingerprint(tmp_path / "new", edited).as_json()
    assert explain(old, new) == ["p.a.f changed", "p.a.g added"]
    assert explain(new, old) == ["p.a.f changed", "p.a.g removed"]
    upgraded = old | {"libraries": {"numpy": "9.9.9", "torch": None, "scipy": "1.0"}}
    assert explain(old, upgraded) == [f"numpy {old['libraries']['numpy']} → 9.9.9", "scipy none → 1.0"]


def test_json_is_sorted_and_has_what_the_digest_is_made_of(tmp_path):
    found = fingerprint(tmp_path / "one", FILES)
    value = found.as_json()
    assert list(value["units"]) == sorted(value["units"]) == ["p.a.f", "p.main.run"]
    assert value["digest"] == found.digest == fingerprint(tmp_path / "two", FILES).digest


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A package with a cache, a function that makes its fingerprint, and the modules that were parsed for it."""
    package, parsed, parse = write(tmp_path, FILES), [], sources.parse

    def counted(source, around):
        parsed.append(source.decode())
        return parse(source, around)

    monkeypatch.setattr(sources, "parse", counted)

    def run(cache=tmp_path / "cache"):
        parsed.clear()
        code = Code(package, cache)
        found = code.fingerprint(["p.main:run"])
        code.save()
        return found

    return package, run, parsed


def test_the_cache_parses_what_changes_alone(cached, tmp_path):
    package, run, parsed = cached
    first = run()
    assert len(parsed) == 3
    assert run() == first
    assert parsed == []
    (package / "a.py").write_text("def f(): return 3")
    assert run().digest != first.digest
    assert parsed == ["def f(): return 3"]
    (package / "a.py").write_text(FILES["a.py"])
    assert run() == first == run(None)


def test_a_damaged_cache_and_one_of_another_version_are_not_used(cached, tmp_path):
    _, run, parsed = cached
    first, file = run(), tmp_path / "cache" / sources.CACHE
    whole = json.loads(file.read_text())
    for damaged in ("{", "[]", json.dumps(whole | {"made_by": "another"})):
        file.write_text(damaged)
        assert run() == first
        assert len(parsed) == 3
        assert json.loads(file.read_text()) == whole


def test_an_unchanged_cache_is_not_written(cached, tmp_path):
    _, run, _ = cached
    run()
    file = tmp_path / "cache" / sources.CACHE
    os.utime(file, (1, 1))
    run()
    assert file.stat().st_mtime == 1


def test_modules_out_of_use_leave_a_full_cache(cached, tmp_path, monkeypatch):
    package, run, _ = cached
    run()
    (package / "a.py").write_text("def f(): return 3")
    run()
    file = tmp_path / "cache" / sources.CACHE
    assert len(json.loads(file.read_text())["modules"]) == 4
    monkeypatch.setattr(sources, "KEPT", 3)
    (package / "a.py").write_text("def f(): return 4")
    run()
    assert len(json.loads(file.read_text())["modules"]) == 3


def test_the_cache_tells_apart_equal_sources_in_two_packages(tmp_path):
    text = "from .a import f\ndef run(): f()"
    files = {
        f"{package}/{module}.py": source
        for package in "qr"
        for module, source in (("main", text), ("a", "def f(): pass"))
    }
    package, cache = write(tmp_path, files), tmp_path / "cache"
    for _ in range(2):
        code = Code(package, cache)
        for name in "qr":
            assert code.fingerprint([f"p.{name}.main:run"]).units == (f"p.{name}.a.f", f"p.{name}.main.run")
        code.save()


def test_the_analysis_imports_nothing_but_python_s_own_library():
    program = "import sys; own = {*sys.modules}; import ream.code.code, ream.code.kinds; print(*({*sys.modules} - own))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert packages - sys.stdlib_module_names == {"ream"}
