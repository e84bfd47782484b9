"""`ream inspect`: what a model is."""

from collections.abc import Callable

from ream.commands.options import ModelArgument
from ream.commands.output import print_rows, warn


def inspect(model: ModelArgument) -> None:
    """Describe a model, and what would be compressed.

    Reads config.json and the headers of the shards; for a folder without shards, config.json alone. A family that ream
    has no entry for is derived from them and transformers' code, and proved on the weights of one layer. Where that
    cannot be done, it prints what an entry must contain.
    """
    inspect_model(model, print_rows, warn)


def inspect_model(model: str, show: Callable[[dict[str, str]], None], warn: Callable[[str], None]) -> dict[str, str]:
    """Show what a model is, and what would be compressed.

    Args:
        model: hub id or folder.
        show: prints names and values: of the model or, where ream cannot derive its family, of what an entry needs.
        warn: prints a remark on the checkpoint.

    Returns:
        the names and values.

    Raises:
        UserError: the model is missing or damaged, or its family cannot be derived.
    """
    from ream.machine.files import read_table
    from ream.models.family.families import NotDerivedError
    from ream.models.inspection.describe import described, unknown_family
    from ream.models.inspection.headers import open_headers, shapes_of
    from ream.models.inspection.manifest import source_of

    source = source_of(model)
    config = read_table(source.folder / "config.json")
    try:
        headers = open_headers(source)
    except NotDerivedError:
        show(unknown_family(config, shapes_of(source)))
        raise
    for remark in headers.checkpoint.remarks:
        warn(remark)
    rows = described(headers, model)
    show(rows)
    return rows
