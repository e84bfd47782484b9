"""The numbers that the method needs, from a config.json whose types were checked (`ream.models.family.config_json`)."""

from collections.abc import Mapping
from typing import Any

from ream.errors import NotMixtureError, UserError
from ream.models.family.config_levels import level
from ream.models.family.family import Family


def sizes_in(config: Mapping[str, Any], family: Family, where: str) -> Mapping[str, Any]:
    """The text model's part of config.json, once all numbers that the method needs are in it.

    Args:
        config: content of config.json.
        family: of the model.
        where: the model, for messages.

    Raises:
        UserError: a number is missing, or each token selects more experts than there are.
    """
    if family.text and not isinstance(level(config, family.text), dict):
        raise UserError(f"{where}: config.json lacks {family.text}; fetch it again")
    numbers = family.numbers(config)
    experts = family.experts(numbers)
    if not experts:
        raise NotMixtureError(
            f"{where}: config.json says {experts} experts under {' or '.join(family.experts_keys)}, so it is not a "
            "Mixture-of-Experts model"
        )
    needed = ("num_hidden_layers", "hidden_size", "vocab_size", family.top_k_key, family.width_key, family.latent_key)
    for key in needed:
        if key and not numbers.get(key):
            raise UserError(f"{where}: config.json lacks {key}, a number from 1 on; fetch it again")
    for key in (family.top_k_key, family.width_key):
        if isinstance(numbers[key], list) and not (family.derived and key == family.top_k_key):
            raise UserError(
                f"{where}: config.json has a list under {key}, but a {family.model_type} has the same number in all "
                "layers; correct it, or fetch it again"
            )
    if selected_experts(numbers, family) > experts:
        raise UserError(
            f"{where}: config.json lets each token select {family.top_k_key} {numbers[family.top_k_key]} of {experts} "
            "experts; correct it, or fetch it again"
        )
    return numbers


def expert_hidden(numbers: Mapping[str, Any], family: Family) -> int:
    """The width of the experts' inputs and outputs: H for most models, that of a latent space for some.

    Args:
        numbers: the text model's part of config.json.
        family: of the model.
    """
    size: int = numbers[family.latent_key or "hidden_size"]
    return size


def selected_experts(numbers: Mapping[str, Any], family: Family) -> int:
    """k: the most experts that a token selects in a layer, where config.json has a number for each layer (Hunyuan).

    Args:
        numbers: the text model's part of config.json.
        family: of the model.
    """
    value = numbers[family.top_k_key]
    return max(value) if isinstance(value, list) else int(value)


def router_groups(config: Mapping[str, Any], family: Family, where: str) -> tuple[int, int]:
    """(n_group, topk_group); DeepSeek-V2 has them in its config even where its router is not limited to groups.

    Args:
        config: the text model's part of config.json.
        family: of the model.
        where: the model, for messages.

    Raises:
        UserError: they do not fit the number of experts, or each other.
    """
    if family.router_groups_key is None or config.get("topk_method") == "greedy":
        return 1, 1
    groups = int(config.get(family.router_groups_key) or 1)
    top_groups = int(config.get(family.router_top_groups_key or "") or groups)
    experts = family.experts(config)
    if experts % groups or top_groups > groups:
        raise UserError(
            f"{where}: config.json has {experts} experts, {family.router_groups_key} {groups} and "
            f"{family.router_top_groups_key} {top_groups}, which do not fit each other; correct it, or fetch it again"
        )
    return groups, top_groups
