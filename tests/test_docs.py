"""README.md, SECURITY.md, CONTRIBUTING.md and docs/ name only what exists: links, files, modules, options."""

import re
from pathlib import Path

import pytest
import typer

from flows.__main__ import app as flows_app
from ream.commands.cli import app as ream_app

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")),
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FOLDERS = ("ream", "flows", "tests", "benchmarks", "data", "docs", "params")
# Where a path may start, beside the repository and ream/: docs/analysis.md is about one room.
STARTS = {"docs/analysis.md": [ROOT / "ream" / "analysis"]}
# A file of vLLM, a deployment of Prefect, and a script that a page prints.
NO_PATHS = {"benchmarks/kernels/benchmark_moe.py", "ream/pipeline", "quantise.py"}
OPTIONS_OF_OTHERS = {"--output_path", "--limit", "--no-nanny", "--force"}  # of lm-eval, Dask and DVC
PROGRAMS = {"ream": ream_app, "flows": flows_app}
CALL = re.compile(r"(?:^|[\s(`])(?:-m )?(ream|flows) ([a-z]+(?:-[a-z]+)*)\b([^\n]*)")
OPTION = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")


def code_of(text):
    """Inline code and code blocks of a page; a command that is continued on the next line is one line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [re.sub(r"\s+", " ", span) for span in inline] + [re.sub(r"\\\n\s*", "", block) for block in blocks]


def commands_of(app):
    """Command to its options, both forms of a switch among them."""
    commands = typer.main.get_command(app).commands
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in commands.items()
    }


def anchors_of(text):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def file_names():
    """Names of all files, for those that a page names without a folder."""
    return {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", NAMES)
def test_named_python_files_and_modules_exist(name, file_names):
    starts = [ROOT, ROOT / "ream", *STARTS.get(name, [])]
    for code in code_of((ROOT / name).read_text(encoding="utf-8")):
        for path in re.findall(r"(?<![\w/.-])((?:[\w-]+/)*[\w-]+\.py)\b", code):
            exists = any((start / path).is_file() for start in starts) if "/" in path else path in file_names
            assert exists or path in NO_PATHS, path
        for module in re.findall(r"-m ((?:ream|flows|tests)(?:\.\w+)*)\b", code):
            path = ROOT.joinpath(*module.split("."))
            assert path.is_dir() or path.with_suffix(".py").is_file(), module


@pytest.mark.parametrize("name", NAMES)
def test_named_paths_exist(name):
    for code in code_of((ROOT / name).read_text(encoding="utf-8")):
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", code):
            assert (ROOT / code).exists() or code in NO_PATHS, code


@pytest.mark.parametrize("name", NAMES)
def test_named_commands_and_options_exist(name):
    commands = {program: commands_of(app) for program, app in PROGRAMS.items()}
    known = set().union(*(options for of_program in commands.values() for options in of_program.values()))
    for code in code_of((ROOT / name).read_text(encoding="utf-8")):
        for program, command, rest in CALL.findall(code):
            options = commands[program].get(command)
            assert options is not None, f"{program} {command}"
            assert {*OPTION.findall(rest.partition("#")[0])} <= options, f"{program} {command}{rest}"
        if re.match(r"--?[A-Za-z]", code) and (option := OPTION.match(code)):
            assert option[1] in known | OPTIONS_OF_OTHERS, code


def test_the_index_has_every_page():
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
