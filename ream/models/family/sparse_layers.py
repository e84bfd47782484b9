"""Which decoder layers have routed experts by config.json: one rule for each way in which configs say it.

A rule takes the text model's part of config.json and the number of layers. The modelling code of transformers decides
by the same keys; a test compares both for every family.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SparseRule:
    """How a config says which layers have routed experts.

    Attributes:
        defaults: the keys that say it, to what transformers takes where a config does not have them.
        chosen: whether a layer has routed experts: its index, the values of the keys, and the number of layers.
    """

    defaults: Mapping[str, Any]
    chosen: Callable[[int, Mapping[str, Any], int], bool]

    def values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the keys, of a config or by default."""
        return {key: default if numbers.get(key) is None else numbers[key] for key, default in self.defaults.items()}

    def layers(self, numbers: Mapping[str, Any]) -> list[int]:
        """Indices of the layers with routed experts, ascending."""
        layers, values = numbers["num_hidden_layers"], self.values(numbers)
        return [layer for layer in range(layers) if self.chosen(layer, values, layers)]


def _every(layer: int, values: Mapping[str, Any], layers: int) -> bool:
    return True


def _step(layer: int, values: Mapping[str, Any], layers: int) -> bool:
    return layer not in values["mlp_only_layers"] and (layer + 1) % values["decoder_sparse_step"] == 0


def _after_dense(layer: int, values: Mapping[str, Any], layers: int) -> bool:
    return bool(layer >= values["first_k_dense_replace"])


def _interval(layer: int, values: Mapping[str, Any], layers: int) -> bool:
    end = values["moe_layer_end_index"]
    inside = values["moe_layer_start_index"] <= layer <= (layers - 1 if end == -1 else end)
    return bool(inside and (layer + 1) % values["moe_layer_interval"] == 0)


def _listed(layer: int, values: Mapping[str, Any], layers: int) -> bool:
    if values["moe_layers"] is not None:
        return bool(layer in values["moe_layers"])
    return bool((layer + 1) % values["interleave_moe_layer_step"] == 0)


@dataclass(frozen=True)
class _Among:
    """Whether a layer is one of some."""

    sparse: frozenset[int]

    def __call__(self, layer: int, values: Mapping[str, Any], layers: int) -> bool:
        return layer in self.sparse


def these(layers: Iterable[int]) -> SparseRule:
    """These layers, which were found in the modelling code."""
    return SparseRule({}, _Among(frozenset(layers)))


def after_dense(default: int) -> SparseRule:
    """All layers but the first ``first_k_dense_replace``; ``default`` where the config does not say."""
    return SparseRule({"first_k_dense_replace": default}, _after_dense)


EVERY = SparseRule({}, _every)
STEP = SparseRule({"mlp_only_layers": [], "decoder_sparse_step": 1}, _step)
INTERVAL = SparseRule({"moe_layer_start_index": 1, "moe_layer_end_index": -1, "moe_layer_interval": 1}, _interval)
LISTED = SparseRule({"moe_layers": None, "interleave_moe_layer_step": 1}, _listed)
