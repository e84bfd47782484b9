"""Stage fidelity: how close a model of the section exports is to the original, for its card.

It measures what the stage rank does, on the same held-out sequences, but needs no other model of the mix, and no mix in
run.rank.
"""

from ream.machine.files import write_json
from ream.machine.progress import Progress
from ream.machine.scratch import scratch
from ream.params import Params
from ream.workspace.held_out_text import FidelitySums, batches_of, held_out
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_decoder, open_original


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Walk the original and the model of an export through the layers; null is written where nothing is held out.

    Raises:
        UserError: there is no such export, or see `open_original`, `read_recipe` and `open_decoder`.
    """
    from ream.compress.compare import compare, steps
    from ream.errors import unknown
    from ream.models.head import Head
    from ream.workspace.recipes import read_recipe

    name = options.export
    if name not in params.exports:
        raise unknown("export", name, params.exports, "params 'exports'")
    sequences, cell, out = held_out(params, workspace), params.exports[name], workspace.fidelity(name)
    if not sequences:
        write_json(out, None)
        return f"fidelity {name}: no sequence is held out (rank.sequences is {params.rank.sequences})"
    original = open_original(workspace, params.model.keep_shards)
    recipes = {name: read_recipe(params, workspace, original.manifest, cell.mix, cell.method, cell.experts)}
    data, decoder = batches_of(params, original, sequences), open_decoder(params, original)
    sums = FidelitySums(Head(decoder, params.model.trust_remote_code), data, [source for source, _ in sequences])
    with scratch(workspace.scratch) as folder, Progress(steps(decoder, data, 1), f"fidelity {name}", "batch") as shown:
        compare(decoder, data, recipes, sums.update, params.compute.hidden_memory, folder, shown)
    found = sums.result().get(name)
    write_json(out, None if found is None else found.model_dump())
    shown_kl = "none" if found is None else f"{found.mean.kl.value:.4f} nats per token"
    return f"fidelity {name}: KL from the original {shown_kl}, on {len(sequences)} sequences"
