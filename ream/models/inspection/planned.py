"""A checkpoint planned from config.json alone: the names, shapes and stored bytes that its tensors would have.

Transformers' own code builds the model on torch's meta device, so every number is exact. Then the tensors get the names
and the layout of the family on disk and, where config.json says so, the parts of a quantised format.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch

from ream.errors import UserError
from ream.machine.bounded import check_bounded
from ream.models.family.config_json import check_config, read_config
from ream.models.family.config_sizes import sizes_in
from ream.models.family.families import family_of
from ream.models.family.family import Family
from ream.models.family.modelling import explained, model_config
from ream.models.family.needed import NeededTensor, skeleton, text_tensors
from ream.models.quantization.config import DTYPE_KEYS, KEYS, format_of, left_plain
from ream.models.quantization.names import Planned, logical_names
from ream.models.storage.checkpoint import Checkpoint, TensorInfo
from ream.models.storage.shard_source import LocalShards
from ream.models.stored_dtypes import STORED

NAMES = {kind.torch: name for name, kind in STORED.items()}
DEFAULT_DTYPE = "BF16"  # where config.json names none


class PlannedCheckpoint(Checkpoint):
    """Headers without shards; every attempt to read a tensor is refused.

    Multi-token layers are planned where config.json counts them; some checkpoints have such layers uncounted.
    """

    def __init__(self, folder: str | Path, trust_remote_code: bool = False) -> None:
        """Plan the tensors.

        Args:
            folder: with a config.json.
            trust_remote_code: let the model's own code run.

        Raises:
            UserError: the model is not a Mixture-of-Experts model, its family is unknown, or transformers cannot build
                it from its config.
        """
        self.source = LocalShards(Path(folder))
        self.folder = self.source.folder
        self.shards: dict[str, int] = {}
        self.config = read_config(self.folder / "config.json")
        self.tensors: dict[str, TensorInfo] = {}
        self.headers: dict[str, bytes] = {}
        self.form = format_of(self.config, str(self.folder / "config.json"))
        family, dtype = family_of(self.config, str(self.folder)), stored_dtype(self.config)
        check_config(self.config, family, str(self.folder / "config.json"))
        sizes_in(self.config, family, str(self.folder))
        levels = [self.config, family.numbers(self.config)]
        kept = left_plain(next((level[key] for level in levels for key in KEYS if level.get(key)), {}))
        needed = list(_tensors(self, family, trust_remote_code))
        check_bounded(  # its regular expressions are a stranger's
            lambda: [kept(name) for name, _, _ in needed], f"quantization_config of {self.folder / 'config.json'}"
        )
        for name, shape, matrix in needed:
            parts = {"": Planned(dtype, shape)}
            if self.form is not None and matrix and not kept(name.removesuffix(".weight")):
                parts = self.form.planned(shape)
            for suffix, part in parts.items():
                size = math.prod(part.shape) * STORED[part.dtype].bytes
                self.tensors[name + suffix] = TensorInfo(name + suffix, "", part.dtype, part.shape, 0, size)
        self.logical = logical_names(self.form, self.tensors)

    def raw(self, name: str, row: int | None = None) -> NoReturn:
        """Refuse to read.

        Raises:
            UserError: always, for there are no weights.
        """
        raise UserError(f"{self.folder} has no weights, only config.json; fetch the shards to read {name}")


def stored_dtype(config: dict[str, Any]) -> str:
    """The safetensors name of the dtype of the weights in config.json, at the top or under text_config."""
    inner = config.get("text_config")
    for level in (config, inner if isinstance(inner, dict) else {}):
        for key in DTYPE_KEYS:
            if level.get(key) in NAMES:
                return NAMES[level[key]]
    return DEFAULT_DTYPE


def _tensors(checkpoint: Checkpoint, family: Family, trust_remote_code: bool) -> Iterator[NeededTensor]:
    """All tensors of the model, by their names on disk, with those of experts in the family's first layout."""
    numbers, extra = family.numbers(checkpoint.config), family.multi_token
    counts = [int(numbers[key]) for key in extra.count_keys if numbers.get(key)] if extra else []
    config: Any = model_config(checkpoint, family, trust_remote_code, max(counts, default=0))
    linear = checkpoint.form is not None and checkpoint.form.linear
    with explained(checkpoint.folder / "config.json"):
        model = skeleton(config, torch.bfloat16, trust_remote_code)
    text = list(text_tensors(model, family, numbers, family.layouts[0], quantise_linear=linear))
    yield from text
    if family.text and family.derived:
        yield from _beside_a_derived_text(checkpoint, {name for name, _, _ in text})
    elif family.text:
        yield from _beside_the_text(checkpoint, trust_remote_code)


def _beside_a_derived_text(checkpoint: Checkpoint, text: set[str]) -> Iterator[NeededTensor]:
    """The tensors of a model that its text model lacks, by the names under which transformers writes them.

    Args:
        checkpoint: whose config.json is read.
        text: names of the text model's tensors.
    """
    from ream.models.family.derived.conversion import written
    from ream.models.family.derived.weightless import parsed, whole_model

    for name, shape in written(whole_model(parsed(checkpoint.config).config)).items():
        if name not in text:
            yield name, shape, False


def _beside_the_text(checkpoint: Checkpoint, trust_remote_code: bool) -> Iterator[NeededTensor]:
    """The tensors of a multimodal model that its text model lacks, by transformers' names."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    auto: Any = AutoModelForImageTextToText  # which has no types
    with explained(checkpoint.folder / "config.json"):
        config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=trust_remote_code)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):
            model: Any = auto.from_config(config, dtype=torch.bfloat16)
    for name, tensor in model.state_dict().items():
        if not {"language_model", "lm_head"} & set(name.split(".")):
            yield name, tuple(tensor.shape), False
