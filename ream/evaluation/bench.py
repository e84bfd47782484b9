"""Scoring the original and compressed models on one suite, with everything shared between them loaded once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream import __version__
from ream.core.recipe import Recipe
from ream.evaluation.scores import Cell, mean_loss
from ream.evaluation.store import ResultStore
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint
from ream.params import Params

if TYPE_CHECKING:
    from ream.models.decoder import Decoder
    from ream.models.head import Head

LIBRARIES = ("torch", "transformers", "lm_eval", "datasets")


class Bench:
    """A suite's tasks and held-out windows, and the original model: loaded once for all models that are scored."""

    def __init__(
        self,
        params: Params,
        windows: Path,
        checkpoint: Checkpoint,
        architecture: Architecture,
        digest: str,
        scratch: Path,
    ) -> None:
        """Load the suite of ``params.evaluation``.

        Args:
            params: all settings.
            windows: the file of the held-out windows; the items of the demo tasks lie beside it.
            checkpoint: the original.
            architecture: the original's.
            digest: identity of the original's weights, under which finished tasks are stored.
            scratch: folder of temporary files, in which checkpoints are written for vLLM.

        Raises:
            UserError: see `Harness`, `read_windows` and `load_tokenizer`.
        """
        from ream.calibration.model_tokenizer import load_tokenizer
        from ream.calibration.tokenizer import check_has_tokenizer
        from ream.evaluation.harness import Harness
        from ream.evaluation.windows import read_windows
        from ream.models.runtime import runtime

        check_has_tokenizer(str(checkpoint.folder))
        self.params, self.checkpoint, self.architecture, self.digest = params, checkpoint, architecture, digest
        self.scratch = scratch
        self.device, self.dtype = runtime(*params.compute.placement)
        suite = params.suites[params.evaluation.suite]
        stored = read_windows(windows) if suite.loss else {}
        self.windows = {source: stored[source] for source in suite.loss}
        items = windows.parent
        items_or_none = items if items.exists() else None
        self.harness = Harness(suite, params.evaluation, items_or_none, params.model.special_tokens)
        self.tokenizer = load_tokenizer(checkpoint.folder, params.model.trust_remote_code)

    def finished(self, state: Path, identity: str = "original") -> list[str]:
        """Names of the tasks that `score` would not run again, because an earlier run has finished them.

        The backend layers finishes all tasks at once; its walk goes on after the layers that it has finished.
        """
        layers = self.params.evaluation.backend == "layers"
        return [] if layers else self.harness.finished(ResultStore(state, self._made_with(identity)))

    def score(
        self,
        recipe: Recipe | None,
        state: Path | None = None,
        identity: str = "original",
        answers: Path | None = None,
    ) -> Cell:
        """Held-out loss and scores of all tasks for one model.

        Args:
            recipe: the compression of the original to score; None scores the original.
            state: folder that keeps the results of finished tasks; None keeps none.
            identity: of the recipe; a stored result is used again only if it is equal.
            answers: file for the answers to all questions (`ream.evaluation.answer_table`); needs ``state``.
        """
        made_with = self._made_with(identity)
        store = None if state is None else ResultStore(state, made_with)
        self._check(recipe, store)
        if self.params.evaluation.backend == "layers":
            parameters, losses, scores = self._walked(recipe, state, store, made_with)
        else:
            parameters, losses, scores = self._loaded(recipe, store)
        if store is not None and answers is not None:
            store.write_all_answers(answers, self.harness.names)
        facts = {} if recipe is None else recipe.facts
        return Cell(
            mix=facts.get("mix"),
            method=facts.get("method"),
            experts=facts.get("experts", self.architecture.experts),
            loss=losses,
            mean_loss=mean_loss(losses),
            parameters=parameters,
            bytes=self._bytes(recipe),
            **scores,
        )

    def _made_with(self, identity: str) -> str:
        """What a stored result was made with."""
        return f"{self.digest}/{identity}/{self.device.type}/{self.dtype}/{self.params.compute.threads}"

    def _loaded(self, recipe: Recipe | None, store: ResultStore | None) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """Parameters, losses and scores of a model in memory; vLLM reads a checkpoint of it for the tasks."""
        from ream.evaluation.loss import window_loss
        from ream.recipe.load import load_model

        params, trust = self.params, self.params.model.trust_remote_code
        model = load_model(self.checkpoint, self.architecture, recipe, self.device, self.dtype, trust)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        losses = {
            source: window_loss(model, windows, params.compute.batch_tokens) for source, windows in self.windows.items()
        }
        if params.evaluation.backend == "vllm":
            del model  # vLLM wants the device's memory
            with self._checkpoint(recipe) as folder:
                scores = self.harness.score(folder, None, store)
        else:
            scores = self.harness.score(model, self.tokenizer, store)
        return parameters, losses, scores

    def _walked(
        self, recipe: Recipe | None, state: Path | None, store: ResultStore | None, made_with: str
    ) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """Parameters, losses and scores of a model that goes through one layer at a time; it is never loaded."""
        from ream.evaluation.by_layers import Walker
        from ream.evaluation.layer_scores import scores_by_layers
        from ream.machine.scratch import scratch
        from ream.recipe.apply import compressed_layers
        from ream.recipe.load import weightless_model

        compute, checkpoint = self.params.compute, self.checkpoint
        decoder, head = self._decoder
        model = weightless_model(checkpoint, self.architecture, recipe, self.params.model.trust_remote_code)
        with scratch(self.scratch) as folder:
            walker = Walker(
                decoder,
                head,
                None if recipe is None else compressed_layers(checkpoint, self.architecture, recipe),
                compute.batch_tokens,
                compute.hidden_memory,
                folder,
                None if state is None else state / "walk",
                {"model": made_with},
                "evaluate",
            )
            losses, scores = scores_by_layers(self.harness, walker, model, self.tokenizer, self.windows, store)
        return sum(parameter.numel() for parameter in model.parameters()), losses, scores

    @cached_property
    def _decoder(self) -> "tuple[Decoder, Head]":
        """The original's decoder and head; a derived family is proved first."""
        from ream.models.decoder import Decoder
        from ream.models.head import Head

        trust = self.params.model.trust_remote_code
        decoder = Decoder(self.checkpoint, self.architecture, self.device, self.dtype, trust)
        if self.architecture.family.derived:
            from ream.models.family.derived.proof import prove

            prove(self.checkpoint, self.architecture)
        return decoder, Head(decoder, trust)

    def _check(self, recipe: Recipe | None, store: ResultStore | None) -> None:
        """Refuse what would fail after the model has been loaded and run.

        Raises:
            UserError: see `Harness.load` and `check_chat`; or there is no room for the checkpoint that vLLM is given.
        """
        from ream.evaluation.settings import check_chat
        from ream.models.family.limits import Limits
        from ream.recipe.room import check_room, checkpoint_bytes

        family, evaluation = self.architecture.family, self.params.evaluation
        limits = Limits(family.vocabulary(self.checkpoint.config), family.positions(self.checkpoint.config))
        if evaluation.max_length is not None:
            limits.check_setting("evaluation.max_length", evaluation.max_length)
        suite = self.harness.suite
        check_chat(self.tokenizer, suite.chat_template, suite.chat_template_args)
        self.harness.load(store, evaluation.max_length or limits.positions)
        if evaluation.backend == "vllm" and recipe is not None:
            needed = checkpoint_bytes(self.checkpoint, self.architecture, recipe)
            check_room(self.scratch, needed, "the checkpoint that vLLM reads")

    def _bytes(self, recipe: Recipe | None) -> int:
        """Bytes of all tensors of the checkpoint that the recipe describes."""
        from ream.recipe.room import checkpoint_bytes

        if recipe is None:
            return sum(tensor.bytes for tensor in self.checkpoint.tensors.values())
        unquantised = self.params.merge.dtype != "original"
        return checkpoint_bytes(self.checkpoint, self.architecture, recipe, unquantised)

    @contextmanager
    def _checkpoint(self, recipe: Recipe | None) -> Iterator[Path]:
        """The model as a folder of files: the original's, or one that is removed when the block exits."""
        from ream.machine.scratch import scratch
        from ream.recipe.output import write_checkpoint

        if recipe is None:
            yield self.checkpoint.source.whole()
            return
        with scratch(self.scratch) as folder:
            trust = self.params.model.trust_remote_code
            write_checkpoint(self.checkpoint, self.architecture, recipe, folder / "model", trust_remote_code=trust)
            yield folder / "model"


def scoring_settings(params: Params) -> dict[str, Any]:
    """The sections that scores depend on, as plain values."""
    return {
        "suite": params.evaluation.suite,
        "tasks": params.suites[params.evaluation.suite].model_dump(),
        "evaluation": params.evaluation.model_dump(),
        "special_tokens": params.model.special_tokens,
        "compute": params.compute.model_dump(),
    }


def versions() -> dict[str, str]:
    """Versions of ream and of the libraries that scores depend on."""
    return {"ream": __version__} | {name: version(name) for name in LIBRARIES}
