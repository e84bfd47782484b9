"""The files beside the weights that a compressed model needs, too: an explicit list, no link out of the checkpoint."""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.machine.documents import read_bytes
from ream.machine.files import read_table

# Names of the tokenizer's and the processors' files, chat templates, and licences. Config, index and README are written
# anew. Not copied are a repository's other files, such as figures, and formats of other programs, which would still
# describe the original.
COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tekken.json",
    "tokenizer.model*",
    "*.model",
    "*.tiktoken",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "audio_tokenizer_config.json",
    "LICEN[CS]E*",
    "[Ll]icen[cs]e*",
    "COPYING*",
    "NOTICE*",
    "[Nn]otice*",
    "USE_POLICY*",
)
TEMPLATES = ("chat_templates", "additional_chat_templates")  # folders of further chat templates, *.jinja
QUANTISED = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")  # of a quantised model
CODE = ".py"
# Files whose auto_map says in which of the model's own modules a class is.
MAPPED = (
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
AUTO_MAP = "auto_map"
IMPORTED = re.compile(r"^\s*from\s+\.([\w-]+)\s+import\b", re.MULTILINE)


def companions(folder: Path, quantised: bool, code: bool) -> list[Path]:
    """The files of a checkpoint to copy beside the weights, in order.

    Args:
        folder: of the checkpoint.
        quantised: whether the weights stay quantised, so that files on quantisation are right for them.
        code: whether the modules that the model's auto_map needs are among them.

    Raises:
        UserError: one is not a regular file, or a link that leads out of the checkpoint. Links are allowed only from a
            snapshot of the hub's cache to the cache's blobs.
    """
    wanted = COPIED + (QUANTISED if quantised else ())
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix != CODE and any(fnmatchcase(path.name, pattern) for pattern in wanted)
    ]
    found += [path for name in TEMPLATES for path in sorted(folder.glob(f"{name}/*.jinja"))]
    files = [path for path in found if not path.is_dir()]
    if code:
        files += own_code(folder)
    for path in files:
        check_inside(path, folder)
    return files


def check_inside(path: Path, folder: Path) -> None:
    """Refuse what is not a regular file inside a checkpoint or, in a snapshot of the hub's cache, a link to a blob.

    Args:
        path: in the folder or below it.
        folder: of the checkpoint.

    Raises:
        UserError: it is something else.
    """
    real, whole = path.resolve(), folder.resolve()
    inside = real == whole / path.relative_to(folder)
    if not inside and whole.parent.name == "snapshots":
        model = whole.parent.parent  # in the cache, which may have blobs that several models share
        inside = any(real.is_relative_to((place / "blobs").resolve()) for place in (model, model.parent))
    if not inside:
        raise UserError(f"{path} is a link out of the checkpoint; put a copy of the file in its place, or remove it")
    if not path.is_file():
        raise UserError(f"{path} is not a regular file; put a file in its place, or remove it")


def own_code(folder: Path) -> list[Path]:
    """The modules of a checkpoint that its auto_map names, and those that they import, by name.

    Raises:
        UserError: a file with an auto_map is not valid, or a module cannot be read (`read_bytes`).
    """
    waiting, found = {module for name in MAPPED for module in _modules(_auto_map(folder / name))}, set[Path]()
    while waiting:
        path = folder / f"{waiting.pop()}{CODE}"
        if path in found or not path.is_file():
            continue
        found.add(path)
        waiting |= set(IMPORTED.findall(read_bytes(path).decode("utf-8", errors="replace")))
    return sorted(found)


def without_code(table: dict[str, Any]) -> dict[str, Any]:
    """The content of a file without the classes that its auto_map has in the checkpoint's own modules."""
    auto_map = table.get(AUTO_MAP)
    if not isinstance(auto_map, dict):
        return table
    kept = {key: value for key, value in auto_map.items() if not list(_modules({key: value}))}
    rest = {key: value for key, value in table.items() if key != AUTO_MAP}
    return {**rest, AUTO_MAP: kept} if kept else rest


def _auto_map(path: Path) -> dict[str, Any]:
    """The auto_map of a file; empty where there is none."""
    auto_map = read_table(path).get(AUTO_MAP) if path.exists() else None
    return auto_map if isinstance(auto_map, dict) else {}


def _modules(auto_map: dict[str, Any]) -> Iterator[str]:
    """The modules of an auto_map that lie in the checkpoint, not in another one (``owner/name--module.Class``)."""
    for value in auto_map.values():
        names: Iterable[object] = value if isinstance(value, list) else [value]
        for name in names:
            if isinstance(name, str) and "--" not in name and re.fullmatch(r"[\w-]+\.\w+", name):
                yield name.split(".")[0]
