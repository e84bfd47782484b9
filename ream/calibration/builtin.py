"""Built-in text sources, which need no network and ship no text of others.

``general`` and ``code`` are read at run time from the Python installation (`installation`); ``math`` is generated
(`problems`). Every file belongs to exactly one split, chosen by a hash of its content, and a paragraph of prose that
several files contain belongs to one split only, so no calibration or test text was seen in training. The text follows
the installation: another version of Python or numpy gives other documents under the same names and the same split rule.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ream.calibration import installation
from ream.calibration.document import SPLITS, Document, Split, split_of
from ream.calibration.installation import Content
from ream.calibration.known_sentences import Hashes, hashes_of, known_sentences
from ream.calibration.problems.generator import worksheets
from ream.calibration.prose import prose_of_file

MIN_CHARS, MAX_CHARS = 1600, 4800


def documents(name: str, split: Split, seed: int = 0) -> Iterator[Document]:
    """Documents of one built-in source and split, in a seeded random order.

    Args:
        name: one of ``general``, ``math``, ``code``.
        split: one of ``train``, ``calibration``, ``held-out``.
        seed: orders the documents; for ``math``, which never ends, it generates them.

    Raises:
        KeyError: the name is none of the three.
    """
    return SOURCES[name](split, seed)


def _general(split: Split, seed: int) -> Iterator[Document]:
    """Documents of ``general``.

    Libraries repeat paragraphs in several files, so splitting by file is not enough: a paragraph that shares a long
    sentence with a training file is left out of the other splits, and one that shares a long sentence with a
    calibration file is left out of the held-out split. A page shorter than MIN_CHARS is joined to the next page of its
    split.
    """
    before: list[Hashes] = []
    files: list[tuple[str, Content]] = []
    earlier_splits, known = SPLITS[: SPLITS.index(split)], known_sentences()
    for label, content in installation.documentation_files():
        data = _bytes(content)
        file_split = split_of(data)
        if file_split == split:
            files.append((label, content))
        elif file_split in earlier_splits:
            before.append(known.of(data))
    known.save()
    seen = {number for hashes in before for number in hashes.tolist()}
    short = ""
    for label, data in _of_split(files, split, seed):
        kept = [paragraph for paragraph in prose_of_file(data) if seen.isdisjoint(hashes_of(paragraph).tolist())]
        text = "\n\n".join([short, *kept]).strip()
        if len(text) < MIN_CHARS:
            short = text
            continue
        short = ""
        for index, piece in enumerate(pieces(text, at_definitions=False)):
            yield Document(f"general/{label}#{index}", piece)


def _math(split: Split, seed: int) -> Iterator[Document]:
    for index, text in enumerate(worksheets(split, seed)):
        yield Document(f"math/{split}/{seed}/{index}", text)


def _code(split: Split, seed: int) -> Iterator[Document]:
    for label, data in _of_split(installation.code_files(), split, seed):
        text = data.decode("utf-8", errors="replace").replace("\r\n", "\n").expandtabs(4)
        for index, piece in enumerate(pieces(text, at_definitions=True)):
            yield Document(f"code/{label}#{index}", piece)


SOURCES: dict[str, Callable[[Split, int], Iterator[Document]]] = {"general": _general, "math": _math, "code": _code}
NAMES = tuple(SOURCES)


def _of_split(files: list[tuple[str, Content]], split: Split, seed: int) -> Iterator[tuple[str, bytes]]:
    """Label and content of the files of a split, sorted by a hash of the seed and of each file's content.

    One more file, which another version of a library may bring, leaves the order of the others unchanged.
    """
    ranked: list[tuple[bytes, str, Content]] = []
    for label, content in files:
        data = _bytes(content)
        if split_of(data) == split:
            ranked.append((hashlib.sha256(f"{seed}/".encode() + data).digest(), label, content))
    for _, label, content in sorted(ranked, key=lambda item: item[:2]):
        yield label, _bytes(content)


def _bytes(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content.encode("utf-8")


def pieces(text: str, at_definitions: bool) -> list[str]:
    """Cut a text into pieces of MIN_CHARS to MAX_CHARS characters.

    A shorter remainder is dropped unless it is the whole text.

    Args:
        text: text to cut.
        at_definitions: cut at top-level definitions of Python, else between paragraphs.
    """
    boundary = r"\n(?=(?:@|def |class |async def ))" if at_definitions else r"\n\n"
    joint = "\n" if at_definitions else "\n\n"
    result, current = [], ""
    for part in re.split(boundary, text):
        current = current + joint + part if current else part
        while len(current) > MAX_CHARS:
            cut = current.rfind("\n", 0, MAX_CHARS)
            cut = cut if cut > 0 else MAX_CHARS
            result.append(current[:cut])
            current = current[cut:].lstrip("\n")
        if len(current) >= MIN_CHARS:
            result.append(current)
            current = ""
    if current and not result:
        return [current]
    return result
