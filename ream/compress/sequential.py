"""Sequential compression: each layer is compressed on what the compressed layers before it make of the text.

`SequentialCompressor.__call__` reads top to bottom as the method does: measure, decide, merge, refit, propagate.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ream.compress.candidates import Candidates
from ream.compress.decide import absorbed, group_layer
from ream.compress.held_out import HeldOutSequences, held_out_of, held_out_share
from ream.compress.layer_tokens import LayerTokens
from ream.compress.neuron_choice import ChoiceTokens, choose_neurons
from ream.compress.precision import PREFIX, TOLERANCE, deciding_error, precision, precision_facts
from ream.compress.rarely_routed import check_seen
from ream.compress.refit_errors import errors_among, read_errors, summary
from ream.compress.refit_layer import refit_layer
from ream.compress.router_refit import RouterTokens, original_logits, refitted_rows, router_rows, with_rows
from ream.compress.streams import split_at, streams
from ream.compress.token_buffers import TokenBuffers
from ream.compress.totals import LayerTotals, block_output, sums_of
from ream.core.alignment import align_groups
from ream.core.composition import OUTPUT_MEANS, Composition, needs
from ream.core.grouping import Groups
from ream.core.known_outputs import CHANGED, OutputStore
from ream.core.recipe import LayerRecipe, Recipe
from ream.core.refit.sums import Total, own
from ream.core.sums import Sums, settled
from ream.errors import UserError
from ream.machine.available import free_threads
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.layers.loaded import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import CompressedLayer
from ream.recipe.recipe_file import read_layer, recipe_from_tensors, recipe_tensors
from ream.walk.batches import Batches
from ream.walk.layer_file import layer_file
from ream.walk.probes import Probes
from ream.walk.state import WalkState
from ream.walk.transfers import WriteBack, prefetched
from ream.walk.walk import LayerVisit, Pass, walk

if TYPE_CHECKING:  # only where torchrun has started several processes
    from ream.walk.share import Share


def compress_sequentially(
    decoder: Decoder,
    data: Batches,
    probes: Probes,
    composition: Composition,
    kept: int,
    group_size: int,
    state: WalkState,
    progress: Progress,
    facts: Mapping[str, Any],
    share: "Share | None" = None,
    sources: Sequence[str] | None = None,
) -> Recipe:
    """Compress all MoE layers in one walk: statistics, grouping, alignment, merge, refit and propagation, by layer.

    The merged weights serve to propagate the tokens and are then dropped: the result is the recipe, from which
    `ream.recipe.output_tensors` merges again when the checkpoint is written.

    Args:
        decoder: of the original model.
        data: the calibration tokens.
        probes: their probe tokens.
        composition: the method.
        kept: K, experts to keep in every layer.
        group_size: C, the most experts that a centroid absorbs; with ``centroid_counts`` the centroid included.
        state: of the walk; finished layers are not compressed again.
        progress: told of every micro-batch that has gone through a layer.
        facts: provenance, for the recipe.
        share: how several ranks decide together on each layer; None for a single process.
        sources: of each sequence of all ranks, the name of its source; None: all are of one source.

    Raises:
        UserError: the refit's target cannot be had in this family's layers, its router has no rows to fit, or a source
            has too few sequences to hold any out.
    """
    family, refit = decoder.architecture.family, composition.refit
    if refit is not None and refit.target == "global" and not decoder.additive:
        raise UserError(
            f"a layer of {family.model_type} is not a residual plus the output of its MoE block, so a refit cannot aim "
            "at the original's hidden states; set the method's refit.target: layer"
        )
    if refit is not None and refit.router:
        router_rows(decoder, decoder.architecture.moe_layers[0])
    sequences = len(data.ids) if share is None else share.sequences
    held_out = held_out_of(composition, sources or [""] * sequences, facts.get("seed", 0))
    if share is not None:
        held_out = held_out.rows(share.rows)
    compressor = SequentialCompressor(
        decoder, data, probes, composition, kept, group_size, state, progress, held_out, share
    )
    walk(decoder, [Pass(compressor.walked, state, compressor)], progress)
    return recipe_of(state.folder, decoder.architecture.moe_layers, facts, composition)


@dataclass
class SequentialCompressor:
    """Compresses each MoE layer that the walk visits (a `LayerMethod`).

    Attention runs once a layer: the MoE inputs and residuals of all tokens are kept until the layer's experts are
    decided. Then the compressed experts, in the checkpoint's dtype, give the hidden states that enter the next layer.

    Attributes are the arguments of `compress_sequentially`, and the held-out sequences of this process.
    """

    decoder: Decoder
    data: Batches
    probes: Probes
    composition: Composition
    kept: int
    group_size: int
    state: WalkState
    progress: Progress
    held_out: HeldOutSequences
    share: "Share | None" = None

    @cached_property
    def walked(self) -> Batches:
        """The rows that go through the layers: those of ``data``, twice where the original's stream is needed."""
        return streams(self.data, self.composition)

    @property
    def sequences(self) -> int:
        """n, the rows of the compressed model's stream."""
        return len(self.data.ids)

    def __call__(self, visit: LayerVisit) -> dict[str, Tensor]:
        """Compress one layer; returns its recipe's tensors and, with a refit, the errors before and after it."""
        buffers = self._room(visit)
        with torch.no_grad():
            known = None if self.share is None else self.share.known(visit.index)
            measured = self._measure(visit, buffers, statistics=known is None)
            if known is None:
                buffers = self._with_targets(buffers)
            rows = self._refitted_rows(visit, buffers) if known is None else None
            decided = [_with_precision(known)] if known is not None else self._decided(visit, buffers, measured, rows)
            del measured
            visit.block.free()  # before the compressed experts come into memory
            recipe, report = decided[0]
            if known is not None:
                compressed, report = self._compressed_block(visit.index, recipe), report | errors_among(known)
                self._propagate(visit.layer, buffers, compressed, recipe.groups)
            elif self.composition.chooses:
                recipe, report = self._chosen(visit, buffers, decided)
            else:
                compressed = self._compressed_block(visit.index, recipe)
                if buffers.targets is not None:
                    recipe, compressed, errors = self._refit(visit.index, buffers, recipe, compressed)
                    report |= errors
                self._propagate(visit.layer, buffers, compressed, recipe.groups)
        return recipe_tensors(recipe) | report

    def _room(self, visit: LayerVisit) -> TokenBuffers:
        shape = (self.sequences, visit.entering.shape[1], self.decoder.architecture.hidden)
        dtype = visit.entering.dtype
        return TokenBuffers(
            inputs=self.state.room(
                "inputs", (*shape[:2], visit.block.input_width(self.decoder.architecture.hidden)), dtype
            ),
            targets=None if self.composition.refit is None else self.state.room("targets", shape, dtype),
            leaving=visit.leaving,
            counted=visit.counted[: self.sequences],
            logits=self.state.room("logits", (*shape[:2], self.decoder.architecture.experts), dtype)
            if self.composition.refit is not None and self.composition.refit.router
            else None,
        )

    def _with_targets(self, buffers: TokenBuffers) -> TokenBuffers:
        """With the targets of a refit and, where something is chosen by errors, what each token's is divided by."""
        options = self.composition.refit
        if options is None:
            return buffers
        buffers.fill_targets(options.target, self._parts)
        return buffers.with_factors(self.decoder, self._parts) if self.composition.chooses else buffers

    def _parts(self) -> Iterator[slice]:
        """The micro-batches of the compressed model's stream."""
        return self.state.parts(slice(part.start, min(part.stop, self.sequences)) for part in self.data)

    def _measure(self, visit: LayerVisit, buffers: TokenBuffers, statistics: bool) -> dict[str, Tensor] | None:
        """Take all tokens through attention; keep MoE inputs and residuals; return the layer's totals.

        The original's stream, if any, goes through the whole original layer here. ``statistics`` is False where the
        totals are not needed; then None is returned.
        """
        scores = "softmax" if self.composition.scores == "softmax" else None
        self._store.clear()
        store = self._store if self._keeps_outputs else None
        totals = LayerTotals(visit.block, self.probes, scores, needs(self.composition), store)
        fitted = ~self.held_out.held[:, None] if held_out_share(self.composition) is not None else None
        layer_target = self.composition.refit is not None and self.composition.refit.target == "layer"
        rows = len(self.walked.ids)
        pieces = (piece for part in self.state.parts(self.walked) for piece in split_at(part, self.sequences, rows))
        device = self.decoder.device
        with WriteBack(device) as write_back:
            for piece, (entering,) in prefetched(device, pieces, visit.entering):
                residual, x = visit.layer(entering)
                assert x is not None
                if piece.start >= self.sequences:  # the original's own stream
                    write_back.put(buffers.leaving, piece, visit.layer.leaving(residual, visit.block(x)))
                    if buffers.logits is not None:
                        same = slice(piece.start - self.sequences, piece.stop - self.sequences)
                        write_back.put(buffers.logits, same, original_logits(visit.block, x))
                else:
                    counted, routed = visit.counted[piece], None
                    if fitted is not None:
                        counted = counted & fitted[piece]
                    if statistics:
                        routed = totals.update(piece, x, counted, combine=layer_target)
                    if layer_target and buffers.targets is not None:
                        write_back.put(buffers.targets, piece, visit.block(x, routed))
                    write_back.put(buffers.leaving, piece, residual)
                    write_back.put(buffers.inputs, piece, x)
                if piece.stop % self.walked.rows == 0 or piece.stop == rows:  # a split micro-batch counts once
                    self.progress.update(1)
        visit.layer.check()  # before anything is decided on what it gave
        return totals.result(self._precise) if statistics else None

    def _precise(self, measured: Sums) -> bool:
        """Whether a sample of outputs tells similarities well enough to decide on a layer."""
        sums = settled(measured)
        return all(
            deciding_error(parts, sums, self._grouped(parts, sums)) <= TOLERANCE for parts in self.composition.tried
        )

    def _grouped(self, parts: Composition, sums: Sums) -> LayerRecipe:
        """Saliency and groups of a layer."""
        router_groups = self.decoder.architecture.router_groups
        return group_layer(parts, sums, self.kept, self.group_size, router_groups)

    def _refitted_rows(self, visit: LayerVisit, buffers: TokenBuffers) -> Tensor | None:
        """The router's rows [N, H], fitted to the original's logits; None where they stay."""
        if buffers.logits is None:
            return None
        fitted = ~self.held_out.held
        tokens = RouterTokens(buffers.inputs, buffers.logits, buffers.counted, fitted, self._parts, self._total)
        return refitted_rows(self.decoder, visit.index, visit.block, tokens)

    def _decided(
        self,
        visit: LayerVisit,
        buffers: TokenBuffers,
        measured: Mapping[str, Tensor] | None,
        rows: Tensor | None,
    ) -> list[tuple[LayerRecipe, dict[str, Tensor]]]:
        """What each candidate makes of the layer's experts, and how precise that is; the same on all ranks."""
        assert measured is not None
        share, found = self.share, []
        together = measured if share is None else share.together(visit.index, measured)
        for parts in self.composition.tried:
            if share is None:
                decided, precise = self._decide(visit, together, parts)
            else:
                decide = partial(self._decided_tensors, visit, together, parts)
                decided, precise = _with_precision(share.decided(visit.index, decide))
            if rows is not None:
                decided = with_rows(decided, rows, parts.merging == "neurons")
            if parts.merging == "neurons":  # all ranks add their tokens up; the first one's choice counts
                decided = self._with_neurons(visit, buffers, decided)
                if share is not None:
                    decided = recipe_from_tensors(share.decided(visit.index, partial(recipe_tensors, decided)))
            found.append((decided, precise))
        return found

    def _with_neurons(self, visit: LayerVisit, buffers: TokenBuffers, decided: LayerRecipe) -> LayerRecipe:
        """The recipe with the neurons that groups keep."""
        fitted = buffers.counted & ~self.held_out.held[:, None]
        tokens = ChoiceTokens(buffers.inputs, fitted, self._parts, buffers.targets, buffers.factors, self._total)
        return choose_neurons(self.decoder, visit.index, decided, visit.block.experts, tokens)

    @property
    def _total(self) -> Total:
        """Adds a total of this process' tokens up over all ranks."""
        return own if self.share is None else self.share.total

    @cached_property
    def _store(self) -> OutputStore:
        """Outputs of the current layer's routed experts."""
        return OutputStore()

    def _decide(
        self, visit: LayerVisit, measured: Mapping[str, Tensor], parts: Composition
    ) -> tuple[LayerRecipe, dict[str, Tensor]]:
        """Saliency and grouping, with their precision; then the alignment of absorbed experts."""
        experts, device = visit.block.experts, self.decoder.device
        check_seen(sums_of(measured), visit.index)
        sums = settled(sums_of(measured))
        grouped = self._grouped(parts, sums)
        router_groups = self.decoder.architecture.router_groups
        known = precision(parts, sums, grouped, self.kept, self.group_size, router_groups)
        precise = {} if known is None else {name: torch.from_numpy(value) for name, value in known.arrays().items()}
        if parts.merging == "neurons":
            return grouped, precise
        permutations = align_groups(
            absorbed(grouped),
            experts.__getitem__,
            parts.alignment,
            measured["probes"].to(device),
            visit.block.unit,
            free_threads(device),
            len(experts),
        )
        return replace(grouped, permutations=permutations), precise

    def _decided_tensors(
        self, visit: LayerVisit, measured: Mapping[str, Tensor], parts: Composition
    ) -> dict[str, Tensor]:
        """What `_decide` gives, in one table, to be sent to other ranks."""
        decided, precise = self._decide(visit, measured, parts)
        return recipe_tensors(decided) | precise

    def _compressed_block(self, index: int, decided: LayerRecipe) -> MoEBlock:
        """The MoE block with merged experts, as they will be read from a checkpoint in the original's format.

        Every member is read from the checkpoint a second time, by the code that writes the output.
        """
        weights = CompressedLayer(self.decoder.checkpoint, self.decoder.architecture, index, decided)
        return self.decoder.block(index, weights)

    def _layer_tokens(self, index: int, buffers: TokenBuffers, errors: Tensor) -> LayerTokens:
        """The tokens of a layer whose compressed block lacks ``errors``."""
        passes = itertools.count(1)

        def told() -> None:
            self.progress.note(f"refit of layer {index}, pass {next(passes)}")

        def parts() -> Iterator[slice]:
            told()
            return self._parts()

        def room(name: str, dtype: torch.dtype, size: int) -> Tensor:
            return self.state.room(name, (*errors.shape[:-1], size), dtype)

        return LayerTokens(
            buffers.inputs, errors, buffers.counted, parts, told, room, self.held_out, self._total, buffers.factors
        )

    def _refit(
        self, index: int, buffers: TokenBuffers, decided: LayerRecipe, compressed: MoEBlock
    ) -> tuple[LayerRecipe, MoEBlock, dict[str, Tensor]]:
        """Refit the merged experts to the target; returns the recipe, the block and the errors (`LayerRefit`)."""
        options = self.composition.refit
        assert options is not None
        targets = buffers.targets
        assert targets is not None
        for part in self._parts():
            targets[part] -= compressed(buffers.inputs[part].to(self.decoder.device)).to(targets.device)
        tokens = self._layer_tokens(index, buffers, targets)
        decided, compressed, errors = refit_layer(self.decoder, index, decided, compressed, tokens, options)
        self.progress.note("")
        return decided, compressed, errors.tensors()

    def _chosen(
        self, visit: LayerVisit, buffers: TokenBuffers, decided: list[tuple[LayerRecipe, dict[str, Tensor]]]
    ) -> tuple[LayerRecipe, dict[str, Tensor]]:
        """The candidate with the least error on held-out sequences, refitted; its output leaves the layer."""
        options = self.composition.refit
        assert options is not None
        targets = buffers.targets
        assert targets is not None
        errors = self.state.room("errors", tuple(targets.shape), targets.dtype)
        tokens = self._layer_tokens(visit.index, buffers, errors)
        candidates = Candidates(self.decoder, visit.index, tokens, targets, options)
        recipe, compressed, choice = candidates.chosen([layer for layer, _ in decided])
        self._propagate(visit.layer, buffers, compressed, recipe.groups, errors)
        after = tokens.squares(lambda part, rows: targets[part][rows] - errors[part][rows], held_out=False)
        self.progress.note("")
        report = decided[choice.candidate][1] | choice.tensors() | {"refit.after": after.sum()}
        return recipe, report

    def _propagate(
        self,
        layer: LoadedLayer,
        buffers: TokenBuffers,
        compressed: MoEBlock,
        groups: Groups,
        outputs: Tensor | None = None,
    ) -> None:
        """Add the compressed block's output to the residuals: the hidden states that enter the next layer.

        ``outputs`` [n, L, H] are filled with the output itself, if given.
        """
        device, origins = self.decoder.device, unchanged(groups)
        with WriteBack(device) as write_back:
            for part, (x, residual) in prefetched(device, self._parts(), buffers.inputs, buffers.leaving):
                output = block_output(compressed, x, self._routed, self._store.known(part.start), origins)
                if outputs is not None:
                    write_back.put(outputs, part, output)
                write_back.put(buffers.leaving, part, layer.leaving(residual, output))

    @property
    def _keeps_outputs(self) -> bool:
        """Whether outputs of routed experts serve the compressed layer, too, whose lone experts are the original's.

        Among several ranks, one that goes on with a layer decided before a kill has not measured it, and would end with
        other roundings than if nothing had been.
        """
        lone = self.composition.refit is None and self.composition.merging == "mean"
        return self._routed and lone and self.share is None and self.decoder.device.type == "cpu"

    @property
    def _routed(self) -> bool:
        """Whether the walk computes routed experts by themselves: where norms are needed, but no dense pass for all."""
        needed = needs(self.composition)
        return "norms" in needed and (self.probes.sampling is not None or not needed & OUTPUT_MEANS)


def unchanged(groups: Groups) -> list[int]:
    """Of each kept expert its index in the original; CHANGED where others were merged into it."""
    alone = np.bincount(groups.group + 1, minlength=len(groups.kept) + 1)[1:] == 1
    return [int(expert) if single else CHANGED for expert, single in zip(groups.kept, alone, strict=True)]


def recipe_of(folder: Path, layers: Iterable[int], facts: Mapping[str, Any], method: Composition) -> Recipe:
    """The recipe of a finished walk.

    Args:
        folder: of the walk's state.
        layers: indices of the MoE layers.
        facts: provenance, for the recipe; what a refit has left of the errors is added.
        method: of the walk.
    """
    labels = [parts.label for parts in method.tried]
    files = {index: layer_file(folder, index) for index in layers}
    errors = {str(index): read_errors(file) for index, file in files.items()}
    if refits := {index: summary(tensors, labels) for index, tensors in errors.items() if tensors}:
        facts = {**facts, "refit": refits}
    if precise := precision_facts(folder, files):
        facts = {**facts, "sample": precise}
    return Recipe({index: read_layer(file) for index, file in files.items()}, facts)


def _with_precision(tensors: Mapping[str, Tensor]) -> tuple[LayerRecipe, dict[str, Tensor]]:
    """A layer's recipe among its tensors, and those that say how precise it is."""
    return recipe_from_tensors(tensors), {name: tensors[name] for name in tensors if name.startswith(PREFIX)}
