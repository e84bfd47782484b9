"""The gated units that an experts module may have, by name, the likeliest first."""

from collections.abc import Mapping
from typing import Any

from ream.core.experts import GatedUnit
from ream.models.family.activations import ACTIVATIONS, UNITS
from ream.models.family.derived.own_unit import OwnUnit


def candidates(experts: Any, numbers: Mapping[str, Any]) -> dict[str, GatedUnit]:
    """Gated units by name: that of config.json's ``hidden_act``, those with fixed activations, the module's own code.

    Args:
        experts: the experts module of transformers.
        numbers: the text model's part of config.json.
    """
    limited = ("clamped", "clamped-silu")
    known = {"gated": numbers.get("hidden_act") in ACTIVATIONS, "own": False}
    known |= dict.fromkeys(limited, isinstance(numbers.get("swiglu_limit", 7.0), int | float))
    found = {name: unit(numbers) for name, unit in UNITS.items() if known.get(name, True)}
    return found | ({"own": OwnUnit(experts)} if hasattr(experts, "_apply_gate") else {})
