"""ream.json: what an output consists of, written with it, by which `ream verify` tells whether it is still whole."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ream import __version__
from ream.errors import UserError
from ream.machine.files import read_json, write_json

CONTENTS = "ream.json"
FORMAT = "ream-output-1"


@dataclass(frozen=True)
class Written:
    """A file as it was written: its length in bytes and the SHA-256 of its content."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What `ream.json` holds.

    Attributes:
        ream: version that wrote the output.
        tensors, parameters: of the model.
        files: shards, index and recipe; what people may well change (config, tokenizer, card) is not among them.
    """

    ream: str
    tensors: int
    parameters: int
    files: dict[str, Written]


def write_contents(folder: Path, tensors: int, parameters: int, files: Mapping[str, Written]) -> None:
    """Write ream.json; the same model gives the same bytes."""
    contents = Contents(__version__, tensors, parameters, dict(sorted(files.items())))
    write_json(folder / CONTENTS, {"format": FORMAT, **asdict(contents)})


def read_contents(folder: Path) -> Contents:
    """Read ream.json.

    Raises:
        UserError: it is missing, damaged or of another format.
    """
    path = folder / CONTENTS
    if not path.exists():
        raise UserError(
            f"{folder} has no {CONTENTS}, so it is no finished output of this ream; write it with `ream apply`"
        )
    read = read_json(path)
    try:
        if read.pop("format") != FORMAT:
            raise UserError(f"{path} is of another format than {FORMAT}; write the model again with `ream apply`")
        files = {name: Written(**entry) for name, entry in read.pop("files").items()}
        return Contents(**read, files=files)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; write the model again with `ream apply`") from None
