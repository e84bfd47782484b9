"""Stage rank@mix: hidden states of the original and of all models of a mix on held-out sequences of every source."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.original import open_original

if TYPE_CHECKING:
    from torch import Tensor


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeanRanks(_Record):
    """`ream.evaluation.rank.Ranks`, which imports torch: the report reads these without."""

    numerical: float
    numerical_stderr: float | None
    effective: float
    effective_stderr: float | None
    sequences: int
    largest: float


class LayerErrors(_Record):
    """`ream.compress.compare.LayerError`."""

    index: int
    block: float | None
    stream: float


class RankedCell(_Record):
    """One model of the mix."""

    method: str
    experts: int
    ranks: MeanRanks
    layers: list[LayerErrors]


class Ranked(_Record):
    """The stage's file; `original` is None, and there are no cells, where no sequence is held out."""

    mix: str
    tokens: int
    original: MeanRanks | None
    cells: list[RankedCell]


def run(params: Params, workspace: Workspace, mix: str) -> str:
    """Walk the original and every model of the mix through the layers, and write ranks and errors.

    Raises:
        UserError: see `open_original`, `load_recipe` and `Decoder`.
    """
    from ream.calibration.corpus import read_corpus
    from ream.calibration.packing import pad
    from ream.compress.compare import compare, steps
    from ream.evaluation.rank import RankMean
    from ream.models.decoder import Decoder
    from ream.models.runtime import runtime
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe
    from ream.walk.batches import batches, check_ids

    files = [workspace.held_out(source) for source in params.run.sources]
    sequences = [ids for path in files for ids in read_corpus(path, may_be_empty=True).sequences]
    if not sequences:
        write_json(workspace.rank(mix), Ranked(mix=mix, tokens=0, original=None, cells=[]).model_dump())
        return f"rank {mix}: no sequence is held out (rank.sequences is {params.rank.sequences})"
    original = open_original(workspace, params.model.keep_shards)
    device, dtype = runtime(*params.compute.placement)
    ids, mask = pad(sequences, pad_id=0)
    check_ids(ids, original.vocabulary)
    data = batches(ids, mask, params.compute.batch_tokens)
    recipes = {}
    for method, experts in params.run.cells(mix):
        recipe = load_recipe(workspace.recipe(mix, method, experts))
        check_recipe(recipe, original.manifest.digest, original.manifest.path)
        recipes[f"{method} {experts}"] = recipe
    decoder = Decoder(original.checkpoint, original.architecture, device, dtype, params.model.trust_remote_code)
    means = {name: RankMean() for name in (None, *recipes)}

    def seen(name: str | None, states: "Tensor") -> None:
        means[name].update(states)

    memory = params.compute.hidden_memory
    with Progress(steps(decoder, data, len(recipes), memory), f"rank {mix}", "batch") as progress:
        errors = compare(decoder, data, recipes, seen, memory, progress)
    cells = []
    for (method, experts), name in zip(params.run.cells(mix), recipes, strict=True):
        layers = [LayerErrors(**asdict(error)) for error in errors[name]]
        ranks = MeanRanks(**asdict(means[name].result()))
        cells.append(RankedCell(method=method, experts=experts, ranks=ranks, layers=layers))
    whole = MeanRanks(**asdict(means[None].result()))
    found = Ranked(mix=mix, tokens=int(mask.sum()), original=whole, cells=cells)
    write_json(workspace.rank(mix), found.model_dump())
    return f"rank {mix}: {len(cells)} models on {len(ids)} sequences; the original's mean rank {whole.numerical:.1f}"


def read_ranked(path: Path) -> Ranked:
    """The stage's file.

    Raises:
        UserError: it is missing, or not such a file.
    """
    tree: Any = read_json(path)
    try:
        return Ranked.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a file of ranks: {where}: {first['msg']}; run the stage rank again") from None
