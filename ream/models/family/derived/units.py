"""The units that an experts module may have, by name, the likeliest first."""

from collections.abc import Mapping
from typing import Any

from ream.core.experts import GatedUnit
from ream.models.family.activations import ACTIVATIONS, UNGATED, UNITS
from ream.models.family.derived.own_unit import OwnActivation, OwnUnit, has_gate


def candidates(experts: Any, numbers: Mapping[str, Any]) -> dict[str, GatedUnit]:
    """Units by name: that of config.json's ``hidden_act``, those with fixed activations, the module's own code.

    Of experts without a gate, those of fixed activations and the module's own.

    Args:
        experts: the experts module of transformers.
        numbers: the text model's part of config.json.
    """
    if not has_gate(experts):
        ungated = {name: unit(numbers) for name, unit in UNITS.items() if name.startswith(UNGATED)}
        return ungated | ({"own": OwnActivation(experts)} if hasattr(experts, "act_fn") else {})
    limited = ("clamped", "clamped-silu")
    known = {"gated": numbers.get("hidden_act") in ACTIVATIONS, "own": False}
    known |= {name: False for name in UNITS if name.startswith(UNGATED)}
    known |= dict.fromkeys(limited, isinstance(numbers.get("swiglu_limit", 7.0), int | float))
    found = {name: unit(numbers) for name, unit in UNITS.items() if known.get(name, True)}
    return found | ({"own": OwnUnit(experts)} if hasattr(experts, "_apply_gate") else {})
