"""Hooks of MkDocs: the pages that lie outside of docs/, links to files of the repository, and the Python API.

Everything is read from the working tree; nothing of the package is imported, and nothing is fetched.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages outside of docs/, which the site has in project/.
ELSEWHERE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "CITATION.cff",
             "benchmarks/RESULTS.md", "data/demo-model/README.md")  # fmt: skip
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FORMULA = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of project/ and api/."""
    for path in ELSEWHERE:
        text = (ROOT / path).read_text(encoding="utf-8")
        if not path.endswith(".md"):
            text = f"# {Path(path).name}\n\n```text\n{text}\n```\n"
        files.append(File.generated(config, _place(path), content=_linked(text, path)))
    for room, text in api_pages(ROOT / "ream"):
        files.append(File.generated(config, f"api/{room}.md", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """A page of docs/ with its links to files outside of docs/ as the site has them."""
    source = page.file.src_uri
    return markdown if source.startswith(("project/", "api/")) else _linked(markdown, f"docs/{source}")


def _place(path: str) -> str:
    """Where the site has a page that lies outside of docs/."""
    name = path if path.endswith(".md") else f"{path}.md"
    return f"project/{name.replace('/', '-').replace('README', 'about')}"


def _linked(text: str, path: str) -> str:
    """A page's text with the links that hold in the site; links to code become its name.

    Args:
        text: Markdown.
        path: of the page in the repository.
    """
    inside = path.startswith("docs/")
    up = "../" * (0 if inside else 1) + "../" * (path.count("/") - 1 if inside else 0)

    def changed(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"\w+:", target):
            return match[0]
        file = (ROOT / path).parent.joinpath(target).resolve()
        if not file.is_relative_to(ROOT):
            return match[0]
        name = file.relative_to(ROOT).as_posix()
        if name.startswith("docs/"):
            return f"[{words}]({up}{name.removeprefix('docs/')}{anchor})"
        if name in ELSEWHERE:
            return f"[{words}]({up}{_place(name)}{anchor})"
        return words if words.strip("`") == name else f"{words} (`{name}`)"

    text = LINK.sub(changed, text)
    return text if inside else FORMULA.sub(lambda match: f"```text\n{match[1].strip()}\n```", text)


def api_pages(package: Path) -> Iterator[tuple[str, str]]:
    """A page for each room of the package: its modules, and their public functions and classes with their docstrings.

    Yields:
        (name of the room, Markdown), and an index of the rooms.
    """
    rooms: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        folder = path.relative_to(package).parts[:-1]
        rooms.setdefault(".".join((package.name, *folder[:1])), []).append(path)
    for room, paths in rooms.items():
        parts = [f"# {room}\n"]
        for path in paths:
            parts += _module(path, ".".join(path.relative_to(package.parent).with_suffix("").parts))
        yield room, "\n".join(parts)
    lines = [f"- [{room}]({room}.md)" for room in rooms]
    yield "index", "\n".join(["# Python API", "", "Each room of the package, from its code.", "", *lines, ""])


def _module(path: Path, name: str) -> Iterator[str]:
    """The Markdown of one module; nothing for one without documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    about = ast.get_docstring(tree)
    if about is None:
        return
    yield f"## {name.removesuffix('.__init__')}\n\n{_fenced(about, 'text')}"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"### {node.name}\n\n{_fenced(_signature(node), 'python')}"
            if text := ast.get_docstring(node):
                yield _fenced(text, "text")


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """The line that defines a function, or a class with its fields and the signatures of its public methods."""
    if isinstance(node, ast.FunctionDef):
        returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
        return f"def {node.name}({ast.unparse(node.args)}){returns}"
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"class {node.name}({bases}):" if bases else f"class {node.name}:"]
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            lines.append(f"    {ast.unparse(part)}")
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            lines.append(f"    {_signature(part)}")
    return "\n".join(lines)


def _fenced(text: str, language: str) -> str:
    """Text as a block of code, which no sign in it can end."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text}\n{fence}\n"
