"""docs/params.md, made of the tree of settings: names, types, ranges, defaults and meanings are written once."""

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ream.params.section import Section
from ream.params.tree import NAMED_ENTRIES, Params

HEAD = """# All settings

<!-- Made by `ream params page > docs/params.md` from ream/params; do not edit. -->

A params file has these sections. `ream` checks the whole of it before any work. `ream params show` prints all settings
with where each is from: a line of a file, or the default.

## A file that says what differs

```yaml
# mine.yaml
extends: default # the settings of the package; a preset, such as qwen3-30b-a3b; or a path, such as ../base.yaml
model: { path: my-org/my-moe }
sources:
  notes: { kind: files, paths: [notes/], windows: all, held_out: 0.1 }
mixes:
  balanced: { notes: 0.7, math: 0.3 }
calibration: { sequences: 256, tokens: 2048 }
```

- Sections and the keys in them are merged; in `suites`, also the keys of each suite. A value that is given replaces the
  other file's as a whole: the mix `balanced` above has two sources, whatever it had before.
- `KEY: null` takes an entry of the other file away.
- Exports, and mixes of `run.rank` and `run.extra`, that are no longer part of the run are left out. So are all
  methods of `run.extra` if the file names its own in `run.one_shot` or `run.sequential`.
- A file that extends nothing has to be whole: it needs at least the sections that are marked as required.

Every `--params` takes such a file. **DVC does not:** it reads `params.yaml` itself to tell which stages a change
touches, so the file there has to be whole. `ream params resolve mine.yaml` writes it, with a first line that says from
what; `make paper PARAMS=mine.yaml` does the same and runs the graph. So DVC stays the only judge of what is stale: what
it compares are the values that the stages run with. `ream stage`, `make repro` and the flow refuse a `params.yaml` that
has `extends`, with that command; `dvc repro` says that it `cannot redefine 'extends'`. What `resolve` wrote it replaces
without asking, unless it was changed since.

"""
BOUNDS = {Ge: "≥ {0.ge:g}", Gt: "> {0.gt:g}", Le: "≤ {0.le:g}", Lt: "< {0.lt:g}"}
REQUIRED = "required"


def page() -> str:
    """The page as Markdown."""
    sections = "".join("\n".join(_section(name, field)) + "\n\n" for name, field in Params.model_fields.items())
    return HEAD + sections.rstrip() + "\n"


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    """The heading, the text and the tables of a section."""
    yield f"## {name}\n"
    required = "Required." if field.is_required() else ""
    models = list(dict.fromkeys(_models(field.annotation)))
    text = " ".join(filter(None, [_sentence(field.description) if field.description else "", required]))
    if text:
        yield f"{text}\n"
    prefix = f"{name}.NAME" if name in NAMED_ENTRIES else name
    for model in models:
        yield from _model(model, prefix, several=len(models) > 1)
    if not models:
        yield f"`{prefix}`: {_type(_value_type(field.annotation))}\n"


def _model(model: type[Section], prefix: str, several: bool) -> Iterator[str]:
    """The text and the table of a class of settings, and then of the classes in it."""
    kind = model.model_fields.get("kind")
    if several and kind is not None:
        yield f"### kind: {get_args(kind.annotation)[0]}\n"
    yield f"{_text(model.__doc__ or '')}\n"
    yield "| setting | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    inner: list[tuple[str, type[Section]]] = []
    for name, field in model.model_fields.items():
        found = list(_models(field.annotation))
        inner += [(f"{prefix}.{name}", each) for each in found]
        cells = (
            f"`{prefix}.{name}`",
            _type(field.annotation, field.metadata),
            _default(field),
            field.description or "",
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    for name, each in inner:
        yield from _model(each, f"{name}.NAME" if _is_table(model, name) else name, several=False)


def _is_table(model: type[Section], path: str) -> bool:
    """Whether a setting maps names to classes of settings."""
    return _origin(model.model_fields[path.rsplit(".", 1)[-1]].annotation) is dict


def _models(annotation: Any) -> Iterator[type[Section]]:
    """The classes of settings in a type."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _models(part)


def _value_type(annotation: Any) -> Any:
    """What a table of named entries maps to."""
    return get_args(annotation)[1] if _origin(annotation) is dict else annotation


def _origin(annotation: Any) -> Any:
    return _origin(get_args(annotation)[0]) if get_origin(annotation) is Annotated else get_origin(annotation)


def _type(annotation: Any, metadata: Any = ()) -> str:
    """A type in words, with its range."""
    if get_origin(annotation) is Annotated:
        inner, *further = get_args(annotation)
        nested = [item for each in further for item in (each.metadata if isinstance(each, FieldInfo) else [each])]
        return _type(inner, [*nested, *metadata])
    ranges = [_range(item) for item in metadata]
    return ", ".join([_plain(annotation), *(text for text in ranges if text)])


def _plain(annotation: Any) -> str:
    """A type in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"table from {_type(parts[0])} to {_type(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    return names.get(annotation, str(annotation))


def _range(item: Any) -> str:
    """One bound of a value in signs; "" for what bounds nothing."""
    for kind, text in BOUNDS.items():
        if isinstance(item, kind):
            return text.format(item)
    if isinstance(item, MinLen):
        return f"at least {item.min_length}" if item.min_length else ""
    if isinstance(item, MaxLen):
        return f"at most {item.max_length}"
    pattern = getattr(item, "pattern", None)
    return f"matches `{pattern}`" if pattern else ""


def _default(field: FieldInfo) -> str:
    """A default as YAML shows it."""
    if field.is_required():
        return REQUIRED
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, Section):
        return ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"`{value}`" if value != [] and value != {} else "none"


def _text(docstring: str) -> str:
    """A docstring as Markdown: code in single backticks, paragraphs on one line."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", docstring)]
    return "\n\n".join(paragraphs).replace("``", "`")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
