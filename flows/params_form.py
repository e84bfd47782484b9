"""The form of params files in which `dvc exp run -S` and the flow change one line and keep all comments.

For every change, DVC reads the whole file and puts each list in anew, so that it

* writes lists below their key, an entry a line, and loses comments and blank lines inside and right after them,
* writes out the values that an entry takes over by ``<<`` or an alias,
* breaks lines at 80 columns.

A file in this form has nothing of that kind: lists stand below their key and the comment of a list beside the key, all
values are written out, and ``{...}`` that would come near 80 columns is written as a block.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ream.errors import UserError

WIDTH = 76  # of a line without its comment; DVC breaks at 80, and a new value may be longer
COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")


def tidy(text: str, name: str) -> str:
    """A params file in the form in which DVC leaves it; text that is in this form is returned as it is.

    Args:
        text: contents of the file: nested mappings whose lists hold plain values.
        name: name of the file, for errors.

    Raises:
        UserError: the file is not YAML, or has a comment where DVC would lose it.
    """
    import yaml
    from dvc.utils.serialize import ParseError, parse_yaml_for_update

    try:
        tree = parse_yaml_for_update(text, name)
        comments = _comments(text)
    except (ParseError, yaml.YAMLError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{name} is not valid YAML: {reason}; correct it first") from None
    form = _Form(text.splitlines(), comments, name)
    form.mapping(tree, 0, len(form.source))
    form.lines_above(len(form.source))
    left = sorted(comments.keys() - form.placed)
    if left:
        raise form.lost(left[0])
    return "".join(f"{line}\n" for line in form.lines)


class _Form:
    """The lines of the new file, and which comments of the source they have.

    Attributes:
        source: lines of the file.
        comments: comment of a line, by its index in the source.
        lines: the new lines so far.
        placed: indices of the comments that the new lines have.
    """

    def __init__(self, source: Sequence[str], comments: Mapping[int, str], name: str) -> None:
        self.source, self.comments, self.name = source, comments, name
        self.lines: list[str] = []
        self.placed: set[int] = set()

    def mapping(self, tree: Mapping[Any, Any], indent: int, end: int) -> None:
        """Write a mapping as a block.

        Args:
            tree: the mapping, as DVC parses it.
            indent: columns before its keys.
            end: index of the line after it in the source.
        """
        places = getattr(tree, "lc", None)
        starts = {key: places.data[key][0] for key in tree if places is not None and key in (places.data or {})}
        for key in _written_order(tree):
            start = starts.get(key)
            stop = min((other for other in starts.values() if start is not None and other > start), default=end)
            if start is not None:
                self.lines_above(start)
            self.entry(key, tree[key], indent, start, stop)

    def entry(self, key: Any, value: Any, indent: int, start: int | None, stop: int) -> None:
        """Write a key and its value; start is its line in the source, None if it is written elsewhere there."""
        head = " " * indent + _inline({key: _plain(value)})
        block = isinstance(value, Mapping) and bool(value) and (not _is_flow(value) or len(head) > WIDTH)
        comment = "" if start is None else self.comment_of(start, start + 1 if block and not _is_flow(value) else stop)
        if block:
            self.lines.append(" " * indent + _inline({key: None}) + comment)
            self.mapping(value if start is not None else _plain(value), indent + 2, stop)
        elif isinstance(value, list) and value:
            self.lines.append(" " * indent + _inline({key: None}) + comment)
            self.lines += [" " * indent + line for line in _dumped(_plain(value)).splitlines()]
        else:
            self.lines.append(head + comment)

    def comment_of(self, start: int, stop: int) -> str:
        """The comment beside an entry, or behind a line of its value; only one is possible."""
        beside = [
            line
            for line in range(start, stop)
            if line in self.comments and line not in self.placed and not self.source[line].lstrip().startswith("#")
        ]
        if not beside:
            return ""
        if len(beside) > 1:
            raise self.lost(beside[1])
        self.placed.add(beside[0])
        return f" {self.comments[beside[0]]}"

    def lines_above(self, start: int) -> None:
        """Write the blank lines and comments right above a line of the source; no blank lines after a list."""
        first = start
        while first and (not self.source[first - 1].strip() or self.source[first - 1].lstrip().startswith("#")):
            first -= 1
        above = [line for line in range(first, start) if line not in self.placed]
        if self.lines and self.lines[-1].lstrip().startswith("- "):
            above = [line for line in above if line in self.comments]
            if above:
                raise self.lost(above[0])
        for line in above:
            self.placed.add(line)
            self.lines.append(self.source[line].rstrip())
        while start == len(self.source) and self.lines and not self.lines[-1]:
            self.lines.pop()

    def lost(self, line: int) -> UserError:
        """The error about a comment that DVC would lose."""
        return UserError(
            f"{self.name}, line {line + 1}: DVC would lose '{self.comments[line]}' when it changes a value, because it "
            "stands inside or right after a list or in an entry that is written anew; put it beside a key"
        )


def _comments(text: str) -> dict[int, str]:
    """The comment of each line that has one, by the line's index; a # inside of a value begins none."""
    import yaml

    spans = [
        (token.start_mark.index, token.end_mark.index)
        for token in yaml.scan(text, Loader=yaml.SafeLoader)
        if isinstance(token, yaml.ScalarToken)
    ]
    comments, offset = {}, 0
    for index, line in enumerate(text.splitlines(keepends=True)):
        for found in COMMENT.finditer(line.rstrip("\n")):
            if not any(start <= offset + found.start() < end for start, end in spans):
                comments[index] = found[0].rstrip()
                break
        offset += len(line)
    return comments


def _written_order(tree: Mapping[Any, Any]) -> Iterator[Any]:
    """The keys of a mapping: first those of the mapping that it takes over by ``<<``, in that one's order."""
    merged = [key for base in getattr(tree, "merge", ()) for key in base]
    return iter(dict.fromkeys([*merged, *tree]))


def _is_flow(value: Any) -> bool:
    """Whether a mapping is written in braces."""
    style = getattr(value, "fa", None)
    return style is None or bool(style.flow_style())


def _plain(value: Any) -> Any:
    """A value of the parsed file as plain dicts, lists and scalars, everything written out."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in _written_order(value)}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _dumped(value: Any) -> str:
    """A plain value as DVC writes it."""
    from dvc.utils.serialize import dumps_yaml

    return str(dumps_yaml(value))


def _inline(entry: dict[Any, Any]) -> str:
    """A mapping of one key as one line, with its value in braces and brackets."""
    from ruamel.yaml import YAML

    yaml, stream = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = False, 10**6
    yaml.dump({key: _flow(value) for key, value in entry.items()}, stream)
    return stream.getvalue().rstrip("\n")


def _flow(value: Any) -> Any:
    """A plain value that ruamel writes in braces and brackets."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, dict | list):
        return value
    made: Any
    if isinstance(value, dict):
        made = CommentedMap({key: _flow(entry) for key, entry in value.items()})
    else:
        made = CommentedSeq([_flow(entry) for entry in value])
    made.fa.set_flow_style()
    return made
