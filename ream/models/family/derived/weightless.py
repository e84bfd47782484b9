"""Transformers' own model of a config.json, shortened to its first layers and without weights, on torch's meta device.

Shortened, a model of 100 layers is built in well under a second, so that it can be built once for each config key whose
meaning is asked.
"""

import copy
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import nn

from ream.errors import one_line
from ream.models.family.config_levels import replaced
from ream.models.family.derived.refusal import PROBED, NotDerivableError

# Whatever says nothing about the text model's architecture, or makes transformers load more than it.
FOREIGN = ("quantization_config", "auto_map", "transformers_version", "dtype", "torch_dtype")
BY_LAYER = re.compile(r"pattern|layer|block")  # in keys of texts with a character for each layer
LONGEST_PERIOD = 16  # layers without routed experts at the start of a decoder, at most; DeepSeek-V3 has 3


@dataclass(frozen=True)
class Parsed:
    """A config.json as transformers reads it.

    Attributes:
        config: transformers' configuration; a wrapper's where the model has more than text.
        key: of the text model's configuration within it, with a dot between two levels; None for a text model.
    """

    config: Any
    key: str | None

    @property
    def text(self) -> Any:
        """The text model's configuration."""
        return reduce(getattr, self.key.split("."), self.config) if self.key else self.config

    def changed(self, **values: Any) -> "Parsed":
        """The same with other values in the text model's configuration, checked by transformers as on loading.

        Raises:
            NotDerivableError: transformers refuses a value.
        """
        text = self.text.to_dict() | values
        whole = replaced(self.config.to_dict(), self.key, text)
        return Parsed(_configuration(type(self.config), whole), self.key)

    def shortened(self, layers: int) -> "Parsed":
        """The same with the first decoder layers alone: lists with a value for each layer are cut, too."""
        text, depth = self.text.to_dict(), self.text.num_hidden_layers
        shorter: dict[str, Any] = {key: layers for key in ("num_hidden_layers", "num_layers") if key in text}
        for key, value in text.items():
            # A pattern such as "MEM*" has a letter for each layer; other texts of that length are words such as "silu".
            letters = isinstance(value, str) and (BY_LAYER.search(key) or not any(map(str.islower, value)))
            if (isinstance(value, list) or letters) and len(value) == depth:
                shorter[key] = value[:layers]
            elif "layer" in key and isinstance(value, list) and all(type(index) is int for index in value):
                shorter[key] = [index for index in value if index <= layers]  # some count layers from 1
            elif isinstance(value, dict) and value and all(str(index).isdigit() for index in value):
                shorter[key] = {index: own for index, own in value.items() if int(index) < layers}
        return self.changed(**shorter)


def parsed(config: Mapping[str, Any]) -> Parsed:
    """Read a config.json.

    Raises:
        NotDerivableError: transformers does not know the model_type, or refuses a value.
    """
    from transformers import CONFIG_MAPPING

    model_type = str(config.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise NotDerivableError(f"the installed transformers has no model code for model_type '{model_type}'")
    read = _configuration(CONFIG_MAPPING[model_type], {k: v for k, v in config.items() if k not in FOREIGN})
    if getattr(read, "is_encoder_decoder", False):
        raise NotDerivableError("it is an encoder-decoder model, and ream compresses decoders")
    text = read.get_text_config(decoder=True)
    if text is read:
        return Parsed(read, None)
    inner = {key: getattr(read, key, None) for key in read.to_dict()}
    keys = [key for key, part in inner.items() if part is text]
    keys += [f"{key}.{below}" for key, part in inner.items() for below in _parts(part) if getattr(part, below) is text]
    if not keys:
        raise NotDerivableError("its text model's configuration lies deeper than two levels in config.json")
    return Parsed(read, keys[0])


def _parts(config: Any) -> list[str]:
    """The keys of the configurations within one; none of what is no configuration."""
    return [key for key in getattr(config, "sub_configs", {}) if hasattr(config, key)]


def _configuration(kind: Any, values: Mapping[str, Any]) -> Any:
    """A configuration of transformers from the content of a config.json."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        config = kind.from_dict(kind._decode_special_floats(copy.deepcopy(dict(values))))
    except (*PROBED, StrictDataclassError) as error:
        raise NotDerivableError(f"transformers refuses its config.json: {one_line(error)}") from error
    return config


def text_class(config: Any) -> Any:
    """The class of the text model of a configuration, without a head.

    Raises:
        NotDerivableError: transformers has no such class.
    """
    import transformers

    if type(config) in transformers.MODEL_MAPPING:
        return transformers.MODEL_MAPPING[type(config)]
    name = type(config).__name__.removesuffix("Config") + "Model"  # of text parts that AutoModel does not know
    if hasattr(transformers, name):
        return getattr(transformers, name)
    found = _models_of(type(config))
    if len(found) != 1:
        raise NotDerivableError(f"transformers has {len(found)} text models for {type(config).__name__}")
    return found[0]


def _models_of(kind: Any) -> list[Any]:
    """The models without a head that a configuration class is for, among those of its own modelling code."""
    code = importlib.import_module(kind.__module__.replace("configuration_", "modeling_"))
    classes = [own for own in vars(code).values() if isinstance(own, type) and getattr(own, "config_class", 0) is kind]
    return [own for own in classes if own.__name__.endswith("Model") and "PreTrained" not in own.__name__]


def text_model(config: Any, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The text model of a configuration without weights.

    Args:
        config: of the text model (`Parsed.text`).
        dtype: of the parameters that the model does not keep in another.

    Raises:
        NotDerivableError: the modelling code refuses the configuration.
    """
    return _built(text_class(config), config, dtype)


def whole_model(config: Any, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The model that checkpoints of a configuration are written from, without weights.

    Raises:
        NotDerivableError: see `text_model`.
    """
    return _built(whole_class(config), config, dtype)


def whole_class(config: Any) -> Any:
    """The class that checkpoints of a configuration are written from: with its head and, in a wrapper, its towers."""
    import transformers
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MULTIMODAL_LM_MAPPING,
    )

    for name in config.architectures or ():
        if hasattr(transformers, name):
            return getattr(transformers, name)
    for mapping in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING):
        if type(config) in mapping:
            kinds: Any = mapping[type(config)]
            kind = kinds[0] if isinstance(kinds, tuple) else kinds
            own = getattr(kind, "config_class", None)
            if own is None or isinstance(config, own):  # else a text part's, which transformers loads from a wrapper
                return kind
    return text_class(config)


def _built(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """A model on the meta device, whose experts run in a loop and whose attention is in plain operations."""
    try:
        with torch.device("meta"):
            return kind._from_config(
                copy.deepcopy(config), dtype=dtype, attn_implementation="eager", experts_implementation="eager"
            ).eval()
    except PROBED as error:
        raise NotDerivableError(
            f"transformers cannot build {kind.__name__} from its config.json: {one_line(error)}"
        ) from error


def expert_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that hold all experts of a layer, by their paths: with two or more tensors of three axes."""
    found = {}
    for path, module in model.named_modules():
        own = [tensor for tensor in module.parameters(recurse=False) if tensor.dim() == 3]
        if len(own) > 1 and "shared" not in path:
            found[path] = module
    return found


def shortest(model: Parsed) -> tuple[Parsed, Any]:
    """The model with as few layers as end with one whose router selects experts by hidden states, and its text model.

    DeepSeek-V4's first layers look experts up in tables, by token ids.

    Raises:
        NotDerivableError: there is none among the first layers; or see `text_model`.
    """
    depth, layers = model.text.num_hidden_layers, 1
    while layers <= min(depth, LONGEST_PERIOD):
        short = model.shortened(layers)
        text = text_model(short.text)
        modules = expert_modules(text)
        last = list(modules)[-1] if modules else ""
        if f".{layers - 1}." in last and not _has_table(text.get_submodule(last.rpartition(".")[0])):
            return short, text
        layers += 1
    raise NotDerivableError(_without_module(text))


def _has_table(block: nn.Module) -> bool:
    """Whether a MoE block has a table of whole numbers."""
    return any(tensor.dim() == 2 and not tensor.is_floating_point() for tensor in block.state_dict().values())


def _without_module(text: Any) -> str:
    """Why no module of a text model holds all experts of a layer."""
    tensors = {path.rpartition(".")[0]: tensor for path, tensor in text.named_parameters() if "shared" not in path}
    first = [path for path, tensor in tensors.items() if tensor.dim() == 3 and path.split(".0.")[0] in ("layers", "h")]
    sets = list(dict.fromkeys(path.rpartition(".")[0] for path in first))
    if len(sets) > 1:
        return f"a layer has {len(sets)} sets of experts ({', '.join(sets)}), which one config key counts"
    matrices = [path for path, tensor in tensors.items() if "experts" in path.split(".") and tensor.dim() == 2]
    if matrices:
        return f"the experts of a layer are rows of one matrix ({matrices[0]}), not along an axis of their own"
    return f"no layer of {type(text).__name__} has a module that holds all its experts"
