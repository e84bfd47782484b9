"""What the tests of walks share: tokens, a walk's pieces, the transformers model and what its MoE layers are given."""

import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from ream.calibration.packing import pad
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from ream.walk.batches import batches
from ream.walk.probes import Probes
from ream.walk.state import WalkState
from tests.core import reference
from tests.tiny import EXPERTS, TOP_K, VOCABULARY, WIDTH


class Quiet:
    """Progress that only counts."""

    def __init__(self):
        self.done, self.notes = 0, []

    def note(self, text):
        self.notes.append(text)

    def update(self, n):
        self.done += n

    skip = update


def sequences(count=7, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.integers(VOCABULARY, size=rng.integers(3, 13)).tolist() for _ in range(count)]


def opened(folder):
    checkpoint = Checkpoint(folder)
    return checkpoint, architecture_of(checkpoint)


def decoder_of(folder):
    return Decoder(*opened(folder), torch.device("cpu"), torch.float32)


@contextmanager
def pieces(tmp_path, probes=40, batch_tokens=30, seed=0, texts=None, memory=math.inf, batch=None):
    """(data, probes, state) of a walk."""
    data = batches(*pad(texts or sequences(), pad_id=0), batch_tokens)
    with WalkState(tmp_path / "state", "x", discard_stale=False, memory=memory) as state:
        yield data, Probes(data, probes, seed, batch=batch), state


def loaded(folder, dtype=torch.float32):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@torch.no_grad()
def moe_inputs(model, layer, texts):
    """What the model's own forward gives the MoE block of a layer for real tokens, one sequence at a time: [T, H]."""
    caught = []
    hook = model.model.layers[layer].mlp.register_forward_hook(lambda module, given, out: caught.append(given[0][0]))
    for ids in texts:
        model(torch.tensor([ids]), use_cache=False)
    hook.remove()
    return torch.cat(caught)


def experts_of(block):
    """(gate, up, down) of a transformers block, each [N, ...]."""
    gate_up = block.experts.gate_up_proj.detach()
    return gate_up[:, :WIDTH], gate_up[:, WIDTH:], block.experts.down_proj.detach()


def loops(block, x, scores="softmax"):
    """The table of docs/method.md, "Statistics", in loops and float64; p as ``scores`` says."""
    router, weights = block.gate.weight.detach().double(), experts_of(block)
    z, _, chosen, combine = reference.route(x.double().tolist(), router.tolist(), TOP_K)
    p = [reference.softmax(row) if scores == "softmax" else reference.sigmoid(row) for row in z]
    sums = reference.statistics(x.double().tolist(), *(w.double().tolist() for w in weights), z, p, chosen, combine)
    return {name: np.array(value, dtype=np.float64) for name, value in sums.items()}


def random_recipe(architecture, kept, seed=0, merge=True, digest="d", groups=1, width=WIDTH):
    """Kept experts, groups, weights and permutations by lot, with the facts that a card tells.

    ``groups``: of the router; each keeps as many experts and merges among its own. ``width``: of the experts.
    """
    rng = np.random.default_rng(seed)
    layers = {}
    for index in architecture.moe_layers:
        size, stay = EXPERTS // groups, kept // groups
        chosen = np.concatenate([np.sort(rng.permutation(size)[:stay]) + g * size for g in range(groups)])
        lots = np.concatenate([rng.integers(stay, size=size) + g * stay for g in range(groups)])
        group = lots if merge else np.full(EXPERTS, -1)
        group[chosen] = np.arange(kept)
        weights = np.where(group < 0, 0.0, rng.random(EXPERTS) + 0.1)
        for position in range(kept):
            weights[group == position] /= weights[group == position].sum()
        absorbed = [int(j) for j in range(EXPERTS) if group[j] >= 0 and j not in chosen]
        layers[index] = LayerRecipe(
            Groups(chosen, group), weights, rng.random(EXPERTS), {j: rng.permutation(width) for j in absorbed}
        )
    facts = {
        "model": "tiny", "digest": digest, "method": "by-lot", "mix": "half", "ratios": {"a": 0.5, "b": 0.5},
        "experts": kept, "original_experts": EXPERTS, "tokens": 24, "seed": 0, "ream": "0",
    }  # fmt: skip
    return Recipe(layers, facts)


def corrected(recipe, architecture, dtype=torch.float32, every=2, seed=1, parts=("down",)):
    """The recipe with projections by lot for every second kept expert, or every ``every``-th."""
    generator = torch.Generator().manual_seed(seed)

    def drawn():
        shapes = {part: [architecture.width, architecture.hidden][:: -1 if part == "down" else 1] for part in parts}
        return {part: (0.3 * torch.randn(*shapes[part], generator=generator)).to(dtype) for part in parts}

    layers = {
        index: replace(layer, corrections={position: drawn() for position in range(0, len(layer.groups.kept), every)})
        for index, layer in recipe.layers.items()
    }
    return Recipe(layers, recipe.facts)


@torch.no_grad()
def replaced(block, layer):
    """A transformers block with a layer's recipe applied in memory, by plain means."""
    gate, up, down = experts_of(block)
    gate_up, downs = [], []
    for position in range(len(layer.groups.kept)):
        members = np.flatnonzero(layer.groups.group == position)
        if position in layer.neurons:
            order = torch.from_numpy(layer.neurons[position])
            gate_up.append(torch.cat([torch.cat([part[j] for j in members])[order] for part in (gate, up)]))
            downs.append(torch.cat([down[j] for j in members], dim=1)[:, order])
            continue
        total = [torch.zeros(WIDTH, gate.shape[-1]), torch.zeros(WIDTH, gate.shape[-1]), torch.zeros(down.shape[1:])]
        for j in members:
            order = layer.permutations.get(int(j), np.arange(WIDTH))
            total[0] += float(layer.weights[j]) * gate[j][order]
            total[1] += float(layer.weights[j]) * up[j][order]
            total[2] += float(layer.weights[j]) * down[j][:, order]
        gate_up.append(torch.cat(total[:2]))
        downs.append(total[2])
    block.experts.gate_up_proj = torch.nn.Parameter(torch.stack(gate_up))
    block.experts.down_proj = torch.nn.Parameter(torch.stack(downs))
    rows = block.gate.weight.detach().clone()
    kept = [layer.groups.members(place) if layer.neurons else [c] for place, c in enumerate(layer.groups.kept)]
    means = [sum(float(layer.weights[m] if layer.neurons else 1) * rows[m] for m in members) for members in kept]
    block.gate.weight = torch.nn.Parameter(torch.stack(means))
    block.experts.num_experts = block.gate.num_experts = len(downs)


@torch.no_grad()
def logits(model):
    ids = torch.randint(VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(9))
    return model(ids, use_cache=False).logits
