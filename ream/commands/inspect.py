"""`ream inspect`: what a model is."""

from ream.commands.options import ModelArgument
from ream.commands.output import print_rows, warn


def inspect(model: ModelArgument) -> None:
    """Describe a model, and what would be compressed.

    Reads config.json and the headers of the shards; for a folder without shards, config.json alone. For a family that
    ream does not know, it prints what an entry for it must contain.
    """
    from ream.machine.files import read_table
    from ream.models.family.families import FAMILIES, expert_counts, family_of
    from ream.models.inspection.describe import described, unknown_family
    from ream.models.inspection.headers import open_headers, shapes_of
    from ream.models.inspection.manifest import source_of

    source = source_of(model)
    config = read_table(source.folder / "config.json")
    if config.get("model_type") not in FAMILIES and expert_counts(config):
        print_rows(unknown_family(config, shapes_of(source)))
    family_of(config, model)
    headers = open_headers(source)
    for remark in headers.checkpoint.remarks:
        warn(remark)
    print_rows(described(headers, model))
