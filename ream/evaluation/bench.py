"""Scoring the original and compressed models on one suite, with everything shared between them loaded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream import __version__
from ream.core.recipe import Recipe
from ream.evaluation.scores import Cell, SourceLoss, mean_loss
from ream.evaluation.store import ResultStore
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint
from ream.params import Params

if TYPE_CHECKING:
    from ream.evaluation.backends.subject import Candidate, Given, Measured

LIBRARIES = ("torch", "transformers", "lm_eval", "datasets")


@dataclass(frozen=True)
class Scored:
    """A model that is to be scored.

    Attributes:
        recipe: the compression of the original; None for the original.
        state: folder that keeps the results of finished tasks, and layers; None keeps none.
        identity: of the recipe; a stored result is used again only if it is equal.
        answers: file for the answers to all questions (`ream.evaluation.answer_table`); needs ``state``.
    """

    recipe: Recipe | None
    state: Path | None = None
    identity: str = "original"
    answers: Path | None = None


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
        from ream.evaluation.backends.vllm_arguments import with_dtype
        from ream.evaluation.harness import Harness
        from ream.evaluation.windows import read_windows
        from ream.models.runtime import runtime

        check_has_tokenizer(str(checkpoint.folder))
        self.params, self.checkpoint, self.architecture, self.digest = params, checkpoint, architecture, digest
        self.scratch, self.windows_file = scratch, windows
        self.device, self.dtype = runtime(*params.compute.placement)
        suite, evaluation = params.suites[params.evaluation.suite], with_dtype(params.evaluation, self.dtype)
        stored = read_windows(windows) if suite.loss else {}
        self.windows = {source: stored[source] for source in suite.loss}
        items = windows.parent
        items_or_none = items if items.exists() else None
        self.harness = Harness(suite, evaluation, items_or_none, params.model.special_tokens)
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
        """Held-out loss and scores of all tasks for one model: `score_all` of it alone."""
        return next(self.score_all([Scored(recipe, state, identity, answers)]))

    def score_all(self, models: "Sequence[Scored]") -> Iterator[Cell]:
        """Held-out loss and scores of all tasks for models of the original, one after the other or side by side.

        The backend layers walks all of them at once. What can be refused before a model runs is refused at the call.

        Raises:
            UserError: see `Harness.load`, `check_chat` and the backend.
        """
        from ream.evaluation.backends.subject import Candidate
        from ream.evaluation.backends.table import BACKENDS

        backend, given = BACKENDS[self.params.evaluation.backend], self._given
        candidates = []
        for each in models:
            made_with = self._made_with(each.identity)
            store = None if each.state is None else ResultStore(each.state, made_with)
            walk = None if each.state is None else each.state / "walk"
            candidates.append(Candidate(each.recipe, store, walk, made_with))
        backend.ready(given, candidates)
        for candidate in candidates:
            self._check(candidate.store)
        return self._cells(models, candidates, backend.measure(given, candidates))

    def _cells(
        self, models: "Sequence[Scored]", candidates: "Sequence[Candidate]", measured: "Iterator[Measured]"
    ) -> Iterator[Cell]:
        """The cells of models that are being measured, as they come; their answers are written before."""
        for model, candidate, (parameters, losses, scores) in zip(models, candidates, measured, strict=True):
            if candidate.store is not None and model.answers is not None:
                candidate.store.write_all_answers(model.answers, self.harness.names)
            facts = {} if model.recipe is None else model.recipe.facts
            yield Cell(
                mix=facts.get("mix"),
                method=facts.get("method"),
                experts=facts.get("experts", self.architecture.experts),
                loss={source: SourceLoss.model_validate(loss) for source, loss in losses.items()},
                mean_loss=mean_loss(losses),
                parameters=parameters,
                bytes=self._bytes(model.recipe),
                **scores,
            )

    @cached_property
    def _given(self) -> "Given":
        """What all models share."""
        from ream.evaluation.backends.subject import Given

        return Given(
            self.params,
            self.checkpoint,
            self.architecture,
            self.harness,
            self.tokenizer,
            self.windows,
            self.device,
            self.dtype,
            self.scratch,
        )

    def _made_with(self, identity: str) -> str:
        """What a stored result was made with."""
        return f"{self.digest}/{identity}/{self.device.type}/{self.dtype}/{self.params.compute.threads}"

    def _check(self, store: ResultStore | None) -> None:
        """Refuse what would fail after a model has been loaded and run.

        Raises:
            UserError: see `Harness.load` and `check_chat`.
        """
        from ream.evaluation.settings import check_chat
        from ream.models.family.limits import Limits

        family, evaluation = self.architecture.family, self.params.evaluation
        limits = Limits(family.vocabulary(self.checkpoint.config), family.positions(self.checkpoint.config))
        if evaluation.max_length is not None:
            limits.check_setting("evaluation.max_length", evaluation.max_length)
        suite = self.harness.suite
        check_chat(self.tokenizer, suite.chat_template, suite.chat_template_args)
        self.harness.load(store, evaluation.max_length or limits.positions)

    def _bytes(self, recipe: Recipe | None) -> int:
        """Bytes of all tensors of the checkpoint that the recipe describes."""
        from ream.recipe.room import checkpoint_bytes

        if recipe is None:
            return sum(tensor.bytes for tensor in self.checkpoint.tensors.values())
        unquantised = self.params.merge.dtype != "original"
        return checkpoint_bytes(self.checkpoint, self.architecture, recipe, unquantised)


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
