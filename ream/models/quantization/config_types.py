"""quantization_config as a typed model, and what all typed models of config.json share."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ream.errors import UserError

SHOWN = 100  # characters of a value in a message
Names = list[str]
Block = Annotated[int, Field(ge=1, le=1 << 20)]


class Lenient(BaseModel):
    """Strict about the types of the keys that it lists, lenient about all others."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


Model = TypeVar("Model", bound=Lenient)


class GroupWeights(Lenient):
    """How compressed-tensors quantises the weights of a group of modules."""

    num_bits: Annotated[int, Field(ge=1, le=64)] | None = None
    group_size: Annotated[int, Field(ge=-1, le=1 << 20)] | None = None
    type: str | None = None
    strategy: str | None = None
    actorder: str | bool | None = None
    symmetric: bool | None = None


class ConfigGroup(Lenient):
    """A group of modules in compressed-tensors' config."""

    format: str | None = None
    weights: GroupWeights | None = None


class Quantization(Lenient):
    """quantization_config, of all supported methods."""

    quant_method: str | None = None
    format: str | None = None
    fmt: str | None = None
    activation_scheme: str | None = None
    scale_fmt: str | None = None
    weight_block_size: list[Block] | None = None
    ignore: Names | None = None
    modules_to_not_convert: Names | None = None
    ignored_layers: Names | None = None
    config_groups: dict[str, ConfigGroup] | None = None
    sparsity_config: dict[str, Any] | None = None
    transform_config: dict[str, Any] | None = None


def validated(model: type[Model], table: Mapping[str, Any], where: str) -> Model:
    """A table of a file as a typed model.

    Args:
        model: the typed model.
        table: content of the file, or a part of it.
        where: the file, for messages.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        # a value that fits no type of a union has an error for each of them, under the same key and the type's name
        keys, given = [], table
        for part in first["loc"]:
            inside = range(len(given)) if isinstance(given, list) else given
            if not isinstance(given, dict | list) or part not in inside:
                break
            keys.append(str(part))
            given = given[part]
        value = repr(given)
        value = value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
        raise UserError(
            f"{where}: {'.'.join(keys)} is {value}: {first['msg'][0].lower() + first['msg'][1:]}; correct it, or fetch "
            "it again"
        ) from None
