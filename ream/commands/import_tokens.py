"""`ream import-tokens`: token batches of other tools as a file of own tokens."""

from pathlib import Path
from typing import Annotated

import typer

from ream.commands.output import say
from ream.errors import UserError


def import_tokens(
    file: Annotated[Path, typer.Argument(help="File of torch.save: tensors of token ids, or tables with input_ids.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, for --calibration or a source of kind tokens.")],
    source: Annotated[str, typer.Option(help="Name that the rows get as their source.")] = "own",
) -> None:
    """Turn token batches saved with torch.save into a Parquet file of own tokens; pickled code is never executed."""
    from ream.calibration.corpus import write_corpus
    from ream.calibration.token_batches import read_token_batches

    if out.exists():
        raise UserError(f"{out} exists; name another file, or remove it first")
    if not source:
        raise UserError("--source is empty; give the rows a name, such as own")
    sequences = read_token_batches(file)
    write_corpus(out, [(source, ids) for ids in sequences], {})
    lengths = sorted(map(len, sequences))
    say(f"{out}: {len(sequences)} sequences of {lengths[0]} to {lengths[-1]} tokens, {sum(lengths)} in all")
