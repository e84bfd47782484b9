"""How a recipe becomes tensors. What is evaluated is what would be written, because both go through `CompressedLayer`.

The path of one tensor of a kept expert, from the original's shard to the output's. A tensor of an absorbed expert has
no place in the output: its values enter in step 1, when its centroid's tensor is made.

1. `read_expert` (models/expert_weights.py) reads every member of a kept expert's group from the original's shards;
   quantised tensors are decoded.
2. `CompressedLayer._merge` permutes the members' neurons and averages them (core/merging.py), or assembles the chosen
   neurons (core/refit/neuron_choice.py), and then puts the recipe's corrections in place of the projections they refit.
3. `CompressedLayer._encode` packs the expert into the family's tensors and casts or requantises them to the format in
   which the checkpoint stores them.
   With `merge.dtype: bfloat16` a quantised original is written unquantised, from the values of step 2.
4. `CompressedLayer.stored_bytes` returns the bytes of one stored tensor. An expert into which nothing is merged skips
   steps 1 to 3 for every tensor without a correction: those bytes are the original's.
5. `output_tensors` (recipe/output_tensors.py) gives the bytes the name of the expert's new index and their place in a
   shard; `write_shard` (models/storage/shard_writing.py) asks for them when their turn comes.

The sequential walk computes with `CompressedLayer.expert`, which decodes the output of step 3, so that its rounding is
included (also where the output is written unquantised); the walk writes nothing, and steps 1 to 5 are done when the
output is written. Evaluation loads the bytes of
step 5 (recipe/state_dict.py).
"""

from dataclasses import replace

import torch
from torch import Tensor

from ream.core.expert_tables import remapped
from ream.core.experts import Expert, expert_of
from ream.core.merging import merged
from ream.core.recipe import LayerRecipe, Recipe, check_layer
from ream.core.refit.neuron_choice import assembled, mean_rows
from ream.errors import UserError
from ream.models.expert_weights import read_expert, read_share
from ream.models.family.architecture import Architecture
from ream.models.family.expert_tensors import pack, unpacked
from ream.models.family.family import RouterTensor
from ream.models.family.layout import PARTS, ExpertTensor
from ream.models.quantization.tensors import read_logical, requantised
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_writing import tensor_bytes
from ream.recipe.belonging import check_corrections, checked_rows
from ream.recipe.latest import Latest

PLAIN = "BF16"  # dtype for tensors that are quantised in the original and written unquantised


class CompressedLayer:
    """The experts and the router of one layer under a recipe (`BlockWeights`), computed when they are read.

    Attributes:
        checkpoint: the original.
        architecture: of the original.
        layer: index of the decoder layer.
        recipe: what becomes of the layer's experts.
        kept: the original indices of the kept experts, ascending, [K].
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Architecture,
        layer: int,
        recipe: LayerRecipe,
        latest: Latest | None = None,
    ) -> None:
        """Check the recipe against the layer; no tensor is read.

        Args:
            checkpoint: the original.
            architecture: of the original.
            layer: index of the decoder layer.
            recipe: what becomes of the layer's experts.
            latest: cache of the expert computed last, one for all layers of a checkpoint; None for a layer by itself.

        Raises:
            UserError: the recipe does not fit the layer.
        """
        try:
            check_layer(recipe, architecture.experts, architecture.width)
        except ValueError as error:
            raise UserError(f"recipe, layer {layer}: {error}; it belongs to another model") from None
        check_corrections(recipe, architecture, layer)
        self.checkpoint, self.architecture, self.layer, self.recipe = checkpoint, architecture, layer, recipe
        self.kept: list[int] = recipe.groups.kept.tolist()
        self._corrected = recipe.corrected
        self._rows = None if recipe.router is None else checked_rows(recipe, architecture, checkpoint, layer)
        self._latest = latest or Latest()

    def __len__(self) -> int:
        """K, the number of kept experts."""
        return len(self.kept)

    def expert(self, position: int) -> Expert:
        """The weights of a kept expert, exactly as they will be read from a checkpoint in the original's format."""
        return self._latest.read_back.get((self.layer, position), lambda: self._read_back(position))

    def router(self, kind: RouterTensor) -> Tensor:
        """A router's tensor with an entry for each kept expert: the original's entry.

        Refitted rows come from the recipe. Where neurons were chosen the entry is the weighted mean over the group's
        members instead. In a table of experts the kept ones stand for all others, and entries that stand for no expert
        stay.
        """
        tensor = self.checkpoint.read(self.architecture.tensor_name(self.layer, kind))
        if kind.numbers:
            return remapped(tensor, self.recipe.groups.kept, self.recipe.groups.group)
        beyond = range(self.architecture.experts, self.architecture.experts + kind.beyond)
        if kind == self._rows and self.recipe.router is not None:
            rows = torch.from_numpy(self.recipe.router).to(tensor.dtype)
            return torch.cat([rows, tensor[beyond.start : beyond.stop]])
        if self.recipe.neurons:
            groups = map(self.recipe.groups.members, range(len(self)))
            means = mean_rows(tensor, kind.axis, groups, self.recipe.weights)
            return (
                torch.cat([means, tensor.index_select(kind.axis, torch.tensor(beyond))], kind.axis) if beyond else means
            )
        return tensor.index_select(kind.axis, torch.tensor([*self.kept, *beyond]))

    def alone(self, position: int) -> bool:
        """Whether no other expert is merged into the kept expert at that position."""
        return len(self.recipe.groups.members(position)) == 1

    def unchanged(self, kind: ExpertTensor, position: int) -> bool:
        """Whether a kept expert's share of a tensor is the original's: nothing merged into it and not refitted."""
        corrected = position in self.recipe.corrections and not self._corrected.isdisjoint(PARTS[kind.part])
        return self.alone(position) and not corrected

    def name(self, kind: ExpertTensor, expert: int) -> str:
        """The name of the tensor that holds an original expert's share."""
        return self.architecture.tensor_name(self.layer, kind, None if kind.stacked else expert)

    def stored_bytes(self, kind: ExpertTensor, position: int, suffix: str = "") -> bytes | bytearray:
        """The stored bytes of a kept expert's share of a tensor.

        Args:
            kind: the tensor, of the family's layout.
            position: of the kept expert.
            suffix: which stored part of the tensor, where the checkpoint is quantised.
        """
        if not self.unchanged(kind, position):
            return tensor_bytes(self._encoded(position)[kind.name][suffix])
        original = self.kept[position]
        row = original if kind.stacked else None
        return self.checkpoint.raw(self.checkpoint.logical[self.name(kind, original)][suffix], row)

    def values(self, kind: ExpertTensor, position: int) -> Tensor:
        """A kept expert's share of a tensor, not yet cast or requantised."""
        return pack(kind, self._merged(position))

    def _merged(self, position: int) -> Expert:
        return self._latest.merged.get((self.layer, position), lambda: self._merge(position))

    def _encoded(self, position: int) -> dict[str, dict[str, Tensor]]:
        return self._latest.encoded.get((self.layer, position), lambda: self._encode(position))

    def _merge(self, position: int) -> Expert:
        """The weighted mean of a group's aligned members, or their chosen neurons, with the corrections in place."""
        members = self.recipe.groups.members(position).tolist()
        experts = (read_expert(self.checkpoint, self.architecture, self.layer, member) for member in members)
        weights = self.recipe.weights[members].tolist()
        if position in self.recipe.neurons:
            expert = assembled(experts, weights, self.recipe.neurons[position])
        else:
            permutations = [self.recipe.permutations.get(member) for member in members]
            aligned = [None if permutation is None else torch.from_numpy(permutation) for permutation in permutations]
            expert = merged(experts, weights, aligned)
        if position in self.recipe.corrections:
            corrections = self.recipe.corrections[position].items()
            return replace(expert, **{part: tensor.to(getattr(expert, part).dtype) for part, tensor in corrections})
        return expert

    def _encode(self, position: int) -> dict[str, dict[str, Tensor]]:
        """The changed tensors of an expert in the checkpoint's format: name in the layout to suffix to tensor."""
        expert, form = self._merged(position), self.checkpoint.form
        stored = {}
        for kind in self.architecture.layout:
            if self.unchanged(kind, position):
                continue
            name = self.name(kind, self.kept[position])
            stored[kind.name] = requantised(form, name, pack(kind, expert), self.checkpoint.headers_of(name))
        return stored

    def _read_back(self, position: int) -> Expert:
        """The expert decoded from the tensors of `_encode`, and from the original's where those are unchanged."""
        original, form = self.kept[position], self.checkpoint.form
        tensors = {}
        for kind in self.architecture.layout:
            if self.unchanged(kind, position):
                tensors[kind.name] = read_share(self.checkpoint, self.architecture, self.layer, kind, original)
                continue
            stored = self._encoded(position)[kind.name]
            quantised = form is not None and form.key in stored
            parts = {suffix: suffix for suffix in stored}
            tensors[kind.name] = read_logical(form, kind.name, parts, stored.__getitem__) if quantised else stored[""]
        return expert_of(unpacked(self.architecture.layout, tensors))


def compressed_layers(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> dict[int, CompressedLayer]:
    """All MoE layers under a recipe, by layer index.

    The recipe covers either all multi-token layers or none; in the latter case they are left out of the output.

    Raises:
        UserError: the recipe is for other layers or keeps different numbers of experts, or does not fit a layer.
    """
    decoder = [layer for layer in architecture.moe_layers if layer < architecture.layers]
    if sorted(recipe.layers) not in (list(architecture.moe_layers), decoder):
        raise UserError(
            f"the recipe is for MoE layers {sorted(recipe.layers)}, but the model has {list(architecture.moe_layers)}"
        )
    counts = {len(layer.groups.kept) for layer in recipe.layers.values()}
    if len(counts) > 1:
        raise UserError(f"the recipe keeps different numbers of experts, {sorted(counts)}; a config can hold only one")
    latest = Latest()
    return {
        index: CompressedLayer(checkpoint, architecture, index, layer, latest)
        for index, layer in sorted(recipe.layers.items())
    }
