"""A model that computes in bfloat16 selects experts by the exact correction biases, in the walk and in evaluation.

Biases of about 7, as MiniMax-M2 has them, differ by less than bfloat16's step there.
"""

import json

import pytest
import torch

from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.family.families import FAMILIES
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.load import load_model
from tests.compress.walks import random_recipe
from tests.models import families, routing
from tests.models.damage import with_tensors

CPU, TOKENS = torch.device("cpu"), 400
BIASED = [name for name, family in FAMILIES.items() if any("correction_bias" in t.name for t in family.router)]
BIAS = "e_score_correction_bias"


def widened(tensors):
    """Biases of 7 and up to 1/80 more, where the next larger bfloat16 is 7 + 1/32: all would be rounded to 7."""
    for name, tensor in tensors.items():
        if name.endswith(BIAS):
            steps = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(len(name)))
            tensors[name] = (7 + steps / 80 / tensor.numel()).reshape(tensor.shape)
        elif name.endswith("gate.weight"):
            tensors[name] = tensor / 300  # scores that differ as little as the biases


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """The folder of a family's tiny checkpoint with large biases, built once."""
    built = {}

    def folder(family):
        if family not in built:
            root = tmp_path_factory.mktemp(family)
            built[family] = with_tensors(families.build(family, root / "plain"), root / "large", widened)
        return built[family]

    return folder


def opened(folder):
    checkpoint = Checkpoint(folder)
    return checkpoint, architecture_of(checkpoint)


def own(folder, family):
    """The model as transformers itself loads it in bfloat16."""
    import transformers

    given = {}
    if family == "kimi_k2":  # known to transformers under another name only
        text = json.loads((folder / "config.json").read_text())
        given["config"] = transformers.DeepseekV3Config(**text | {"model_type": "deepseek_v3"})
    return (
        getattr(transformers, families.TINY[family].model).from_pretrained(folder, dtype=torch.bfloat16, **given).eval()
    )


def exact_bias(checkpoint, architecture, index):
    """The bias of a layer [N] as it is stored, in float32."""
    kind = next(kind for kind in architecture.family.router if kind.name.endswith(BIAS))
    return checkpoint.read(architecture.tensor_name(index, kind)).flatten()


def inputs(seed=0):
    x = torch.randn(TOKENS, families.HIDDEN, generator=torch.Generator().manual_seed(seed))
    return x.to(torch.bfloat16)


@torch.no_grad()
def selected(block, x):
    """[T, k] experts of the block's own gate, ascending."""
    by_block = hasattr(block, BIAS)
    given = (x, getattr(block, BIAS)) if by_block else (x,)
    return block.gate(*given)[2].sort().values


def holder_of(block):
    """The module that has the bias."""
    return next(module for module in block.modules() if hasattr(module, BIAS))


def test_which_families_have_biases():
    assert sorted(BIASED) == ["deepseek_v3", "ernie4_5_moe", "glm4_moe", "kimi_k2", "minimax_m2"]
    for family in BIASED:
        assert [kind.exact for kind in FAMILIES[family].router if kind.name.endswith(BIAS)] == [True]


@pytest.mark.parametrize("family", BIASED)
@torch.no_grad()
def test_walk_and_evaluation_select_as_transformers_does(biased, family):
    """Transformers 5.23 itself rounds MiniMax-M2's biases when it loads them; there they are put right first."""
    folder = biased(family)
    checkpoint, architecture = opened(folder)
    theirs, x = own(folder, family), inputs()
    if family == "minimax_m2":
        for index in architecture.moe_layers:
            holder_of(theirs.model.layers[index].mlp).e_score_correction_bias = exact_bias(
                checkpoint, architecture, index
            )
    decoder = Decoder(checkpoint, architecture, CPU, torch.bfloat16)
    ours = load_model(checkpoint, architecture, None, CPU, torch.bfloat16)
    for index in (i for i in architecture.moe_layers if i < architecture.layers):
        expected = selected(theirs.model.layers[index].mlp, x)
        walked = decoder.block(index)
        assert torch.equal(walked.route(x).indices.sort().values, expected)
        assert torch.equal(selected(ours.model.layers[index].mlp, x), expected)
        holder = holder_of(ours.model.layers[index].mlp)
        assert torch.equal(holder.e_score_correction_bias.flatten(), exact_bias(checkpoint, architecture, index))
        holder.e_score_correction_bias.data = holder.e_score_correction_bias.bfloat16()
        rounded = selected(ours.model.layers[index].mlp, x)
        assert (rounded != expected).any(1).float().mean() > 0.2, "rounding would show"


@pytest.mark.parametrize("family", BIASED)
@torch.no_grad()
def test_walk_selects_by_the_stored_biases(biased, family):
    """Against loops in float64, over the logits that the router gives in bfloat16."""
    checkpoint, architecture = opened(biased(family))
    decoder, x = Decoder(checkpoint, architecture, CPU, torch.bfloat16), inputs(1)
    groups = {"groups": architecture.router_groups, "top_groups": architecture.router_top_groups}
    for index in architecture.moe_layers:
        bias, decided = exact_bias(checkpoint, architecture, index).double().tolist(), decoder.block(index).route(x)
        equal = 0
        for z, indices in zip(decided.logits.double().tolist(), decided.indices.tolist(), strict=True):
            equal += set(routing.selected(family, z, len(indices), bias, **groups)) == set(indices)
        assert equal >= 0.99 * TOKENS  # two sums can be closer to each other than float32's step at 7


@pytest.mark.parametrize("family", BIASED)
def test_a_compressed_models_biases_are_exact_too(biased, family):
    checkpoint, architecture = opened(biased(family))
    recipe = random_recipe(architecture, 4, groups=architecture.router_groups)
    model = load_model(checkpoint, architecture, recipe, CPU, torch.bfloat16)
    kept_in_float32 = {"e_score_correction_bias"} | ({"weight"} if family == "ernie4_5_moe" else set())
    for index in (i for i in architecture.moe_layers if i < architecture.layers):
        block = model.model.layers[index].mlp
        kept = torch.from_numpy(recipe.layers[index].groups.kept)
        expected = exact_bias(checkpoint, architecture, index)[kept]
        assert torch.equal(holder_of(block).e_score_correction_bias.flatten(), expected)
        precise = {name for name, tensor in block.state_dict().items() if tensor.dtype == torch.float32}
        assert {name.rpartition(".")[2] for name in precise} == kept_in_float32
    others = {tensor.dtype for name, tensor in model.named_parameters() if "gate" not in name}
    assert others == {torch.bfloat16}
