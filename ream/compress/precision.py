"""What a sample of outputs leaves open: the standard error of the similarities that decide, and undecided experts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from safetensors import safe_open

from ream.compress.decide import group_layer
from ream.core.composition import Composition, Quantity
from ream.core.grouping import Groups
from ream.core.precision import compared, is_sampled, moved, standard_errors
from ream.core.recipe import LayerRecipe
from ream.core.sums import Sums, settled
from ream.walk.layer_file import layer_file

TOLERANCE = 0.01  # a standard error of a similarity, which lies between 0 and 1, with which a sample grows no further
# So many draws, spread a quarter wider than samples, find choices with margins of up to 2.5 standard errors. Of a
# choice with a larger margin, the chance that all tokens decide otherwise is about one in a hundred with 16 blocks.
DRAWS, SPREAD = 64, 1.25
PREFIX = "sample."  # of the names of a layer's tensors


@dataclass(frozen=True)
class Precision:
    """How precise a layer's groups are.

    Attributes:
        error: the largest standard error of a similarity that decides on the groups.
        undecided: experts that other samples of the same size may put into another group: choices closer to their
            runner-up than 2 to 2.5 standard errors, and all that follows from them.
    """

    error: float
    undecided: tuple[int, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """The values as arrays of a layer's file."""
        undecided = np.array(self.undecided, dtype=np.int64)
        return {f"{PREFIX}error": np.array(self.error), f"{PREFIX}undecided": undecided}

    def facts(self) -> dict[str, Any]:
        """The values as a recipe's facts have them."""
        return {"error": self.error, "undecided": list(self.undecided)}


def deciding_error(method: Composition, sums: Sums, layer: LayerRecipe) -> float:
    """The largest standard error of a similarity that decides on a layer's groups; 0 where all tokens were measured.

    These are the similarities of kept and absorbed experts, or those of all pairs where the grouping chooses what is
    kept by similarity, too.

    Args:
        method: the composition.
        sums: settled, or of a mix.
        layer: the groups.
    """
    errors = standard_errors(method.similarity, sums) if is_sampled(sums) and method.similarity else np.zeros((1, 1))
    if method.grouping in ("pseudo-pruning", "nearest-centroid"):
        errors = errors[compared(layer.groups)]
    return float(errors.max(initial=0.0))


def precision(
    method: Composition, sums: Sums, layer: LayerRecipe, kept: int, group_size: int, router_groups: int
) -> Precision | None:
    """How precise a layer's groups are; None where no sample has decided on them.

    The groups are formed again from sums drawn from the distribution of what samples of this size give. An expert is
    undecided if a draw puts it into another group (`regrouped`).

    Args:
        method: the composition.
        sums: settled, or of a mix.
        layer: the groups.
        kept: K.
        group_size: C, as the settings count it.
        router_groups: n_group, 1 without group limits.
    """
    sampled_kinds = [kind for kind in method.similarity if kind != "gate-logits"]
    if not is_sampled(sums) or not sampled_kinds:
        return None
    deviations = sums.output_deviations if sums.output_deviations is not None else sums.gated_output_deviations
    assert deviations is not None
    generator, changed = np.random.default_rng(0), np.zeros(len(layer.groups.group), dtype=bool)
    for _ in range(DRAWS):
        drawn = moved(sums, SPREAD * generator.standard_normal(len(deviations)))
        other = group_layer(method, drawn, kept, group_size, router_groups, layer.saliency, layer.routed_tokens)
        changed |= regrouped(layer.groups, other.groups)
    return Precision(deciding_error(method, sums, layer), tuple(np.flatnonzero(changed).tolist()))


def source_error(needs: frozenset[Quantity], sums: Sums) -> float:
    """The largest standard error of any similarity of outputs, of a source whose statistics serve many methods.

    Args:
        needs: what the methods need of the statistics.
        sums: of the source, before they are settled.
    """
    final, largest = settled(sums), 0.0
    if "output-means" in needs:
        largest = float(standard_errors(["output"], final).max(initial=0.0))
    if "gated-output-means" in needs:
        largest = max(largest, float(standard_errors(["gated-output"], final).max(initial=0.0)))
    return largest


def precision_facts(folder: Path, layers: Iterable[int]) -> dict[str, Any]:
    """The precision of each layer of a finished sequential walk, by its index; empty where nothing was sampled.

    Args:
        folder: of the walk's state.
        layers: indices of the MoE layers.
    """
    facts = {}
    for index in layers:
        with safe_open(layer_file(folder, index), framework="numpy") as file:
            if f"{PREFIX}error" in file.keys():  # noqa: SIM118
                undecided = file.get_tensor(f"{PREFIX}undecided").tolist()
                facts[str(index)] = Precision(float(file.get_tensor(f"{PREFIX}error")), tuple(undecided)).facts()
    return facts


def precision_line(facts: Mapping[str, Any], experts: int) -> str:
    """What to tell of a recipe whose groups rest on a sample; "" where none does.

    Args:
        facts: of each layer, as `Precision.facts` gives them.
        experts: N, of each layer.
    """
    if not facts:
        return ""
    error = max(layer["error"] for layer in facts.values())
    undecided = sum(len(layer["undecided"]) for layer in facts.values())
    return (
        f"; means of outputs from a sample: similarities within a standard error of {error:.2g}"
        + (f", which is above {TOLERANCE}" if error > TOLERANCE else "")
        + f"; the groups of {undecided} of {experts * len(facts)} experts are undecided"
    )


def regrouped(before: Groups, after: Groups) -> Bool[np.ndarray, " N"]:
    """The experts that are in another group than before; every expert is in one.

    A group is known by its centroid. Where other experts are centroids, which a hierarchical grouping chooses from each
    group, a group is the former one with which it has most experts in common, of several the first, and the experts
    that have become centroids or are none any more count as regrouped, too.

    Args:
        before: the groups.
        after: other groups of the same experts.
    """
    changed: np.ndarray
    if np.array_equal(before.kept, after.kept):
        changed = before.group != after.group
        return changed
    common = np.zeros((len(after.kept), len(before.kept)), dtype=np.int64)
    np.add.at(common, (after.group, before.group), 1)
    changed = common.argmax(axis=1)[after.group] != before.group
    changed[np.setxor1d(before.kept, after.kept)] = True
    return changed
