"""A MoE block as transformers itself loads it: by its own names and conversion, without anything that was derived."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ream.errors import one_line
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.weightless import Parsed, text_class, whole_model


def transformers_block(model: Parsed, layer: str, block_of: Callable[[Any], Any], tensors: Mapping[str, Tensor]) -> Any:
    """Load the tensors of a block into transformers' model, which stays without the others.

    Args:
        model: shortened to end with the layer.
        layer: path of the layer in the text model.
        block_of: gives the block of a layer.
        tensors: by their names on disk.

    Returns:
        The block in float32.

    Raises:
        NotDerivableError: transformers has no use for a tensor, cannot convert it, or lacks one.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import convert_and_load_state_dict_in_model
    from transformers.modeling_utils import LoadStateDictConfig
    from transformers.utils import logging

    whole = whole_model(model.config, torch.float32)
    text = next(module for module in whole.modules() if type(module) is text_class(model.text))
    mapping: Any = get_model_conversion_mapping(whole)
    settings = LoadStateDictConfig(weight_mapping=mapping, dtype=torch.float32)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        report, _ = convert_and_load_state_dict_in_model(whole, dict(tensors), settings)
    except PROBED as error:
        raise NotDerivableError(f"transformers cannot load layer tensors: {one_line(error)}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    block = block_of(text.get_submodule(layer))
    wrong = [*report.unexpected_keys, *(entry[0] for entry in report.mismatched_keys), *report.conversion_errors]
    wrong += [name for name, tensor in block.state_dict().items() if tensor.is_meta]
    if wrong:
        raise NotDerivableError(
            f"transformers does not load {sorted(wrong)[0]} from the layer's tensors as ream writes them"
        )
    return block
