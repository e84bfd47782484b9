"""Stage sequential: statistics, saliency, grouping, alignment, merge and propagation, layer by layer, to a recipe."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ream.calibration.corpus import read_corpus
from ream.calibration.mixing import mix_sequences
from ream.calibration.packing import pad
from ream.errors import UserError
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.original import open_original, recipe_facts
from ream.workspace.rank_parts import check_batches, discard_parts, on_own_device, parts_of

if TYPE_CHECKING:
    from ream.core.recipe import Recipe
    from ream.walk.batches import Batches
    from ream.walk.probes import Probes
    from ream.walk.ranks import Ranks
    from ream.walk.share import Share
    from ream.walk.state import WalkState

APART = 1.5  # times as much error left on held-out sequences as on those fitted to is worth a warning


def run(
    params: Params,
    workspace: Workspace,
    mix: str,
    method: str,
    experts: int,
    discard_stale: bool = True,
    keep_state: bool = False,
    ranks: "Ranks | None" = None,
) -> str:
    """Compress the model on a mix by a sequential method; goes on where a killed run stood.

    Args:
        params: all settings. workspace: with the model's manifest and the calibration text.
        mix: name of a mix. method: name of a method. experts: K.
        discard_stale: start anew where a run with other settings was interrupted; else refuse.
        keep_state: leave the finished walk, so that asked again it gives its recipe without walking.
        ranks: of torchrun: all of them call this, and leave each other when it is done. Each takes its own part of the
            micro-batches through the layers; the first decides on each layer by the totals of all.

    Raises:
        UserError: the method is one-shot, or the sources hold too few sequences for the mix; of any rank; there are
            more ranks than micro-batches.
    """
    from ream.compress.sequential import compress_sequentially, recipe_of
    from ream.compress.streams import streams
    from ream.models.decoder import Decoder
    from ream.models.runtime import runtime
    from ream.recipe.recipe_file import save_recipe
    from ream.walk.batches import batches, check_ids
    from ream.walk.probes import Probes
    from ream.walk.state import WalkState, fingerprint

    composition, ratios = params.method(method).composition(), params.mix(mix)
    if not composition.sequential:
        raise UserError(f"method '{method}' is one-shot; run it through the stages grouping and alignment")
    original = open_original(workspace, params.model.keep_shards)
    if ranks is not None:
        params = on_own_device(params, ranks)
    device, dtype = runtime(*params.compute.placement)
    corpora = {
        source: read_corpus(workspace.calibration(source)).sequences for source, ratio in ratios.items() if ratio > 0
    }
    drawn = mix_sequences(corpora, ratios, params.calibration.sequences)
    ids, mask = pad([sequence for _, sequence in drawn], pad_id=0)
    check_ids(ids, original.vocabulary)
    data = batches(ids, mask, params.compute.batch_tokens)
    facts = recipe_facts(params, workspace, original.manifest, mix, method, experts)
    depends = {
        **facts,
        "probes": params.statistics.probes,
        "device": device.type,
        "dtype": str(dtype),
        "threads": params.compute.threads,
        "batch_tokens": params.compute.batch_tokens,
    }
    layers, title = original.architecture.depth, f"sequential {mix}"

    def walk(data: "Batches", probes: "Probes", state: "WalkState", share: "Share | None" = None) -> "Recipe":
        decoder = Decoder(original.checkpoint, original.architecture, device, dtype, params.model.trust_remote_code)
        walked, silent = streams(data, composition), share is not None and not share.ranks.first
        desc = title if share is None else f"{title}, rank 0 of {share.ranks.size}"
        with Progress(len(walked) * layers, desc, "batch", layers, int(walked.mask.sum()), silent=silent) as bar:
            size = params.grouping.size_for(experts)
            return compress_sequentially(decoder, data, probes, composition, experts, size, state, bar, facts, share)

    name, out = f"sequential-{mix}-{method}-{experts}", workspace.recipe(mix, method, experts)
    done = f"sequential {mix} {method}: {experts} of {original.manifest.experts} experts, {int(mask.sum()):,} tokens"
    if ranks is None:
        memory = params.compute.hidden_memory
        with WalkState(workspace.state(name), fingerprint(depends), discard_stale, depends, memory) as state:
            recipe = walk(data, Probes(data, params.statistics.probes, params.calibration.seed), state)
            save_recipe(out, recipe)
            if not keep_state:
                state.clear()
        return done + refit_result(recipe.facts.get("refit", {}))
    check_batches(f"mix {mix}", data, ranks)
    with parts_of(params, workspace, {name: (data, depends)}, discard_stale, ranks) as parts:
        part = parts[name]
        if part.share.ahead < layers:  # else killed after the last layer
            walk(*part)
    if ranks.first:
        save_recipe(out, recipe_of(part.share.committed, original.architecture.moe_layers, facts))
        if not keep_state:
            discard_parts(workspace, name)
    ranks.leave()
    return done


def refit_result(layers: Mapping[str, Mapping[str, Any]]) -> str:
    """What a refit left of the squared error, for people, with a warning where it has learnt the text by heart."""
    if not layers:
        return ""
    left = sum(layer["left"] for layer in layers.values()) / len(layers)
    told = f"; refit leaves {left:.1%} of the layers' squared error"
    unchanged = [index for index, layer in layers.items() if layer["left"] >= 1]
    if unchanged:
        kept = f"; warning: layers {', '.join(unchanged)} keep their weights, "
        kept += "the refitted ones would not be better as they are written"
    else:
        kept = ""
    held_out = {index: layer["left_held_out"] for index, layer in layers.items() if layer["left_held_out"] is not None}
    if not held_out:
        return told + ", no sequence was held out" + kept
    told += f", {sum(held_out.values()) / len(held_out):.1%} on held-out sequences"
    apart = [index for index, value in held_out.items() if value > APART * layers[index]["left"] or value > 1]
    if apart:
        fitted = any("rounds" in layer for layer in layers.values())
        ways = ["more sequences", "a larger refit.ridge", *(["fewer refit.iterations"] if fitted else [])]
        told += f"; warning: it overfits in layers {', '.join(apart)}: use {' or '.join(ways)}"
    return told + kept
