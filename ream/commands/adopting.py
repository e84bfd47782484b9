"""Mixes that a search has found, written into a params file whose comments and order stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError

if TYPE_CHECKING:
    from ream.search.records import SearchRecord


def check_adoptable(path: Path, given: Path | None) -> None:
    """Refuse to change a file that comes with ream, before anything is searched.

    Args:
        path: the params file that is used.
        given: as the command line names it.

    Raises:
        UserError: it is not a file of one's own.
    """
    from ream.machine.shipped import package

    if package() in path.absolute().parents or (given is not None and not given.is_file()):
        raise UserError(
            "--adopt writes the mixes into a params file of your own; name one with --params FILE, or make one by "
            "`ream init`"
        )


def adopt(path: Path, record: "SearchRecord", sources: Mapping[str, Any]) -> list[str]:
    """Write the mixes of a search under ``mixes``, and sources of own text under ``sources``.

    With a target that is its mix alone, otherwise all mixes that have a recipe. A mix of that name is replaced: it
    comes from an earlier search for the same method and size. Nothing is written unless the file is valid with them.

    Args:
        path: the params file.
        record: of the search.
        sources: name to the plain values of each source of own text.

    Returns:
        The names of the mixes.

    Raises:
        UserError: the file is not YAML, has another source of that name, or would not be valid.
    """
    from dvc.utils.serialize import ParseError, dumps_yaml, parse_yaml, parse_yaml_for_update

    from ream.machine.documents import read_text
    from ream.machine.files import replacing
    from ream.params import parse_params

    wanted = [mix for mix in record.front if record.target is None or mix.name == record.target.mix]
    text = read_text(path)
    try:
        tree: Any = parse_yaml_for_update(text, path)
    except ParseError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{path} is not valid YAML: {reason}; correct it first") from None
    for name, values in sources.items():
        if tree["sources"].get(name, values) != values:
            raise UserError(f"{path} has another source '{name}'; rename the file that --text names")
        tree["sources"][name] = dict(values)
    for mix in wanted:
        tree["mixes"][mix.name] = {source: ratio for source, ratio in mix.ratios.items() if ratio > 0}
    written = dumps_yaml(tree)
    parse_params(parse_yaml(written, path), str(path))
    with replacing(path) as temporary:
        temporary.write_text(written, encoding="utf-8")
    return [mix.name for mix in wanted]
