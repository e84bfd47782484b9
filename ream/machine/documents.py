"""Small files that others wrote: text, JSON and YAML, bounded in size, depth, numbers and aliases.

Every such file is opened here and nowhere else, so that a pipe is never waited for, a device never read to its end,
and no file takes more memory or time than its size allows. What is wrong is one line.
"""

import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError

if TYPE_CHECKING:
    import yaml

MIB = 1024**2
MOST_BYTES = 256 * MIB  # of a file of text or JSON: the index and the tokenizer of the largest models have 30 MiB
MOST_YAML_BYTES = MIB // 2  # of a YAML file, which is parsed a thousand times as slowly
DEEPEST = 100  # levels of lists and tables
LONGEST_NUMBER = 100  # characters of a number in YAML
MOST_NODES = 20_000  # values of a YAML document, each counted as often as aliases repeat it
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half of a surrogate pair
NO_FILE = "is not a regular file; put the file in its place"
MANY = f"{{where}} has more than {MOST_NODES:,} values, with those that aliases repeat; write fewer"
SHOWN = 200  # characters of a parser's message


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: the file; only a regular one is read.
        most: bytes that the file may have.

    Raises:
        UserError: it is missing, is not a regular file, has more bytes or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe waits for no writer
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UserError(f"{path} {NO_FILE}")
        with open(handle, "rb") as file:
            data = file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise UserError(f"{path} {NO_FILE}") from None
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:  # a null character in the name
        raise UserError(f"{str(path)!r} is not the name of a file; correct it") from None
    if len(data) > most:
        raise UserError(f"{path} has more than {most / MIB:g} MiB, which no such file needs; put the right one there")
    return data


def read_text(path: str | Path, most: int = MOST_BYTES) -> str:
    """The content of a file in UTF-8.

    Raises:
        UserError: see `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (at byte {error.start}); write or fetch it again") from None


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text.

    Args:
        text: in UTF-8, if bytes.
        where: the text's place, for messages.

    Raises:
        UserError: it is not JSON, has a number of thousands of digits or half of a surrogate pair, which UTF-8 cannot
            encode, or is nested more than DEEPEST deep.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(decoded)
        if HALF.search(decoded):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where} has half of a surrogate pair, which is no character; write or fetch it again"
        ) from None
    except RecursionError:
        raise UserError(f"{where} is not valid JSON (it is nested too deeply); write or fetch it again") from None
    except ValueError as error:  # of the JSON, its encoding, or a number of thousands of digits
        raise UserError(f"{where} is not valid JSON ({_line(error)}); write or fetch it again") from None
    if depth_exceeds(value, DEEPEST):
        raise UserError(f"{where} is nested more than {DEEPEST} levels deep; write or fetch it again")
    return value


def depth_exceeds(value: Any, most: int) -> bool:
    """Whether lists and tables lie in each other on more levels than ``most``."""
    level = [value]
    for _ in range(most + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = [item for table in level for item in (table.values() if isinstance(table, dict) else table)]
    return True


def read_yaml(path: str | Path, loader: "type[yaml.SafeLoader] | None" = None) -> Any:
    """The value of a YAML file.

    Raises:
        UserError: see `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path, MOST_YAML_BYTES), str(path), loader)


def parse_yaml(text: str, where: str, loader: "type[yaml.SafeLoader] | None" = None) -> Any:
    """The value of a YAML text with one document.

    Args:
        text: of the document.
        where: the text's place, for messages.
        loader: to use in place of ``yaml.SafeLoader``, from which it is derived.

    Raises:
        UserError: it is not YAML, has an impossible date or a number of more than LONGEST_NUMBER characters, is nested
            more than DEEPEST deep, contains itself, or has more than MOST_NODES values with those that aliases repeat.
    """
    import yaml

    class Counting(loader or yaml.SafeLoader):  # type: ignore[misc]
        """Stops at too many values, before they take time."""

        nodes = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.nodes += 1
            if self.nodes > MOST_NODES:
                raise UserError(MANY.format(where=where))
            return super().compose_node(parent, index)

    reader: Any = None
    try:
        reader = Counting(text)
        node = reader.get_single_node()
        if node is None:
            return None
        _check_node(node, where)
        return reader.construct_document(node)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: of a date, for example
        raise UserError(f"{where} is not valid YAML: {_line(error)}") from None
    except RecursionError:
        raise UserError(f"{where} is not valid YAML: it is nested too deeply") from None
    finally:
        if reader is not None:
            reader.dispose()


def _check_node(root: "yaml.Node", where: str) -> None:
    """Refuse what would take long to construct or to walk through: see `parse_yaml`."""
    import yaml

    sizes: dict[int, int] = {}  # id of a finished node to the number of values in it
    unfinished: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in unfinished:
            raise UserError(f"{where} has a value that contains itself, through an alias; write it out")
        if id(node) in sizes:
            return sizes[id(node)]
        if depth > DEEPEST:
            raise UserError(f"{where} is nested more than {DEEPEST} levels deep; write or fetch it again")
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= letter <= "\udfff" for letter in node.value):
                raise UserError(f"{where} has half of a surrogate pair, which is no character; write it again")
            if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
                raise UserError(f"{where} has a number of {len(node.value)} characters; write it with fewer")
            return 1
        unfinished.add(id(node))
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(item,) for item in node.value]
        total = 1 + sum(size(part, depth + 1) for pair in pairs for part in pair)
        if total > MOST_NODES:
            raise UserError(MANY.format(where=where))
        unfinished.remove(id(node))
        sizes[id(node)] = total
        return total

    size(root, 0)


def _line(error: Exception) -> str:
    """What a parser says, as one short line."""
    text = " ".join(str(error).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
