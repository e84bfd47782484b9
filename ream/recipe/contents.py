"""ream.json: the files that an output consists of, by which `ream verify` tells whether it is still whole."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ream import __version__
from ream.errors import UserError
from ream.machine.files import read_json, write_json

# Names of ream's own files in an output. The recipe is a file of safetensors by another name: where a folder has no
# index, vLLM and SGLang read every *.safetensors file in it, and llm-compressor those of its subfolders, too.
CONTENTS = "ream.json"
RECIPE = "ream/recipe.ream"
FORMER_RECIPE = "recipe.safetensors"  # where earlier outputs have it
FORMAT = "ream-output-1"


@dataclass(frozen=True)
class Written:
    """A file as it was written.

    Attributes:
        bytes: its length.
        sha256: the SHA-256 of its content, in hexadecimal.
    """

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What ream.json holds.

    Attributes:
        ream: the version that wrote the output.
        tensors: the number of the model's tensors.
        parameters: the number of the model's parameters.
        files: file name to the shard, index or recipe as it was written. Files that people have good reasons to change
            (config, tokenizer, card) are not among them.
    """

    ream: str
    tensors: int
    parameters: int
    files: dict[str, Written]


def recipe_name(folder: Path) -> str:
    """The name of an output's recipe: RECIPE, or FORMER_RECIPE if only that exists."""
    return FORMER_RECIPE if not (folder / RECIPE).exists() and (folder / FORMER_RECIPE).exists() else RECIPE


def write_contents(folder: Path, tensors: int, parameters: int, files: Mapping[str, Written]) -> None:
    """Write ream.json; the same model gives the same bytes.

    Args:
        folder: the output.
        tensors: the number of the model's tensors.
        parameters: the number of the model's parameters.
        files: file name to the file as it was written.
    """
    contents = Contents(__version__, tensors, parameters, dict(sorted(files.items())))
    write_json(folder / CONTENTS, {"format": FORMAT, **asdict(contents)})


def read_contents(folder: Path) -> Contents:
    """Read ream.json of an output.

    Raises:
        UserError: it is missing, damaged or of another format.
    """
    path = folder / CONTENTS
    if not path.exists():
        raise UserError(
            f"{folder} has no {CONTENTS}, so it is not a finished output of this version of ream; write it with "
            "`ream apply`"
        )
    read = read_json(path)
    if isinstance(read, dict) and read.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is not of format {FORMAT}; write the model again with `ream apply`")
    try:
        stored = _Stored.model_validate(read)
    except ValidationError:
        raise UserError(f"{path} is damaged; write the model again with `ream apply`") from None
    files = {name: Written(file.bytes, file.sha256) for name, file in stored.files.items()}
    return Contents(stored.ream, stored.tensors, stored.parameters, files)


class _Entry(BaseModel):
    """A file in ream.json."""

    model_config = ConfigDict(strict=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str = Field(max_length=64)


class _Stored(BaseModel):
    """The content of ream.json, whoever wrote it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: str
    ream: str
    tensors: int = Field(ge=0)
    parameters: int = Field(ge=0)
    files: dict[str, _Entry]
