"""Stage rank: the original and all models of a mix on held-out sequences of every source, side by side.

Their hidden states give ranks and errors, their next-token distributions the fidelity to the original.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ream.evaluation.fidelity_records import Fidelity
from ream.evaluation.rank_records import LayerErrors, MeanRanks, MixRanks, RankedCell
from ream.machine.files import write_json
from ream.machine.progress import Progress
from ream.machine.scratch import scratch
from ream.params import Params
from ream.workspace.held_out_text import FidelitySums, batches_of, held_out
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import Original, open_decoder, open_original

if TYPE_CHECKING:
    from torch import Tensor

    from ream.core.recipe import Recipe
    from ream.walk.batches import Batches


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Walk the original and every model of the mix through the layers, and write ranks, errors and fidelity.

    Raises:
        UserError: see `open_original`, `read_recipe` and `open_decoder`.
    """
    from ream.workspace.recipes import read_recipe

    mix = options.mix
    sequences = held_out(params, workspace)
    if not sequences:
        write_json(workspace.rank(mix), MixRanks(mix=mix, tokens=0, original=None, cells=[]).model_dump())
        return f"rank {mix}: no sequence is held out (rank.sequences is {params.rank.sequences})"
    original = open_original(workspace, params.model.keep_shards)
    recipes = {
        f"{method} {experts}": read_recipe(params, workspace, original.manifest, mix, method, experts)
        for method, experts in params.run.cells(mix)
    }
    data, sources = batches_of(params, original, sequences), [source for source, _ in sequences]
    with scratch(workspace.scratch) as folder:
        measured = _measured(params, original, data, sources, recipes, mix, folder)
    cells = [
        RankedCell(
            method=method,
            experts=experts,
            ranks=measured.ranks[name],
            layers=measured.errors[name],
            fidelity=measured.fidelity.get(name),
        )
        for (method, experts), name in zip(params.run.cells(mix), recipes, strict=True)
    ]
    record = MixRanks(mix=mix, tokens=int(data.mask.sum()), original=measured.ranks[None], cells=cells)
    write_json(workspace.rank(mix), record.model_dump())
    rank = measured.ranks[None].numerical
    return f"rank {mix}: {len(cells)} models on {len(sequences)} sequences; mean rank of the original {rank:.1f}"


@dataclass(frozen=True)
class _Measured:
    """The ranks of every model's hidden states, the original's under None, and errors and fidelity of the recipes."""

    ranks: dict[str | None, MeanRanks]
    errors: dict[str, list[LayerErrors]]
    fidelity: dict[str, Fidelity]


def _measured(
    params: Params,
    original: Original,
    data: "Batches",
    sources: Sequence[str],
    recipes: Mapping[str, "Recipe"],
    mix: str,
    folder: Path,
) -> _Measured:
    """Walk all models; ``sources`` has that of each sequence, ``folder`` is for mapped files."""
    from ream.compress.compare import compare, steps
    from ream.evaluation.rank import RankMean
    from ream.models.head import Head

    decoder = open_decoder(params, original)
    head = Head(decoder, params.model.trust_remote_code)
    means: dict[str | None, RankMean] = {name: RankMean() for name in (None, *recipes)}
    sums = FidelitySums(head, data, sources)

    def update(row: int, states: "Mapping[str | None, Tensor]") -> None:
        for name, leaving in states.items():
            means[name].update(decoder.behind(leaving[None].to(decoder.device))[0])
        sums.update(row, states)

    memory = params.compute.hidden_memory
    with Progress(steps(decoder, data, len(recipes)), f"rank {mix}", "batch") as progress:
        errors = compare(decoder, data, recipes, update, memory, folder, progress)
    return _Measured(
        ranks={name: MeanRanks(**asdict(mean.result())) for name, mean in means.items()},
        errors={name: [LayerErrors(**asdict(error)) for error in errors[name]] for name in recipes},
        fidelity=sums.result(),
    )
