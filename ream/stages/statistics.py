"""Stage statistics: one pass of the original over one source, kept as sums and probe inputs of every layer."""

import shutil
from typing import Any

from ream import __version__
from ream.calibration.corpus import read_corpus
from ream.calibration.packing import pad
from ream.files import building, read_json, write_json
from ream.params import Params
from ream.progress import Progress
from ream.stages.original import open_original
from ream.stages.workspace import Workspace, file_digest


def run(params: Params, workspace: Workspace, source: str, discard_stale: bool = True) -> str:
    """Collect the statistics of a source; goes on where a killed run stood.

    Raises:
        UserError: see `open_original`, `read_corpus`, `Decoder`.
    """
    from ream.compress.one_shot import collect
    from ream.compress.state import WalkState, fingerprint
    from ream.compress.walk import Probes, batches, check_ids
    from ream.models.decoder import Decoder, device_of, dtype_of

    original = open_original(workspace)
    device = device_of(params.compute.device)
    dtype = dtype_of(params.compute.dtype, device)
    ids, mask = pad(read_corpus(workspace.calibration(source)).sequences, pad_id=0)
    check_ids(ids, original.checkpoint.config["vocab_size"])
    data = batches(ids, mask, params.compute.batch_tokens)
    facts: dict[str, Any] = {
        "model": original.manifest.digest,
        "source": source,
        "corpus": file_digest(workspace.calibration(source)),
        "tokens": int(mask.sum()),
        "sequences": len(ids),
        "probes": params.statistics.probes,
        "seed": params.calibration.seed,
        "device": device.type,
        "dtype": str(dtype),
        "batch_tokens": params.compute.batch_tokens,
        "ream": __version__,
    }
    out = workspace.statistics(source)
    done = f"statistics of {source}: {facts['tokens']:,} tokens, {len(original.architecture.moe_layers)} layers"
    if (out / "facts.json").exists() and read_json(out / "facts.json") == facts:
        return done
    with WalkState(workspace.state("statistics", source), fingerprint(facts), discard_stale) as state:
        decoder = Decoder(original.checkpoint, original.architecture, device, dtype, params.model.trust_remote_code)
        probes = Probes(data, params.statistics.probes, params.calibration.seed)
        layers = original.architecture.layers
        with Progress(len(data) * layers, f"statistics {source}", "batch", layers, facts["tokens"]) as bar:
            collect(decoder, data, probes, state, bar)
        with building(out) as folder:
            for index in original.architecture.moe_layers:
                path = state.layer_path(index)
                shutil.copyfile(path, folder / path.name)  # moved, they would be gone for a run killed before the last
            write_json(folder / "facts.json", facts)
        state.clear()
    return done
