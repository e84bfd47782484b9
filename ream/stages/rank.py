"""Stage rank: hidden states of the original and of all models of a mix on held-out sequences of every source."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from ream.evaluation.rank_records import LayerErrors, MeanRanks, MixRanks, RankedCell
from ream.machine.files import write_json
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import Original, open_decoder, open_original

if TYPE_CHECKING:
    from torch import Tensor

    from ream.core.recipe import Recipe
    from ream.walk.batches import Batches


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Walk the original and every model of the mix through the layers, and write ranks and errors.

    Raises:
        UserError: see `open_original`, `read_recipe` and `open_decoder`.
    """
    from ream.calibration.corpus import read_corpus
    from ream.calibration.packing import pad
    from ream.walk.batches import batches, check_inputs
    from ream.workspace.recipes import read_recipe

    mix = options.mix
    files = [workspace.held_out(source) for source in params.run.sources]
    sequences = [ids for path in files for ids in read_corpus(path, may_be_empty=True).sequences]
    if not sequences:
        write_json(workspace.rank(mix), MixRanks(mix=mix, tokens=0, original=None, cells=[]).model_dump())
        return f"rank {mix}: no sequence is held out (rank.sequences is {params.rank.sequences})"
    original = open_original(workspace, params.model.keep_shards)
    ids, mask = pad(sequences, pad_id=0)
    check_inputs(ids, mask, original.limits)
    recipes = {
        f"{method} {experts}": read_recipe(params, workspace, original.manifest, mix, method, experts)
        for method, experts in params.run.cells(mix)
    }
    ranks, errors = _measured(params, original, batches(ids, mask, params.compute.batch_tokens), recipes, mix)
    cells = [
        RankedCell(method=method, experts=experts, ranks=ranks[name], layers=errors[name])
        for (method, experts), name in zip(params.run.cells(mix), recipes, strict=True)
    ]
    record = MixRanks(mix=mix, tokens=int(mask.sum()), original=ranks[None], cells=cells)
    write_json(workspace.rank(mix), record.model_dump())
    rank = ranks[None].numerical
    return f"rank {mix}: {len(cells)} models on {len(ids)} sequences; mean rank of the original {rank:.1f}"


def _measured(
    params: Params, original: Original, data: "Batches", recipes: Mapping[str, "Recipe"], mix: str
) -> tuple[dict[str | None, MeanRanks], dict[str, list[LayerErrors]]]:
    """The ranks of every model's hidden states, the original's under None, and the layer errors of the recipes."""
    from ream.compress.compare import compare, steps
    from ream.evaluation.rank import RankMean

    decoder = open_decoder(params, original)
    means: dict[str | None, RankMean] = {name: RankMean() for name in (None, *recipes)}

    def update(name: str | None, states: "Tensor") -> None:
        means[name].update(states)

    memory = params.compute.hidden_memory
    with Progress(steps(decoder, data, len(recipes), memory), f"rank {mix}", "batch") as progress:
        errors = compare(decoder, data, recipes, update, memory, progress)
    ranks = {name: MeanRanks(**asdict(mean.result())) for name, mean in means.items()}
    return ranks, {name: [LayerErrors(**asdict(error)) for error in errors[name]] for name in recipes}
