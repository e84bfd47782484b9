"""Stage evaluate: score the original, or all models of one calibration mix."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ream import __version__
from ream.core.recipe import Recipe
from ream.evaluation.scores import Cell, Scores, mean_loss, write_scores
from ream.machine.files import file_digest
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.original import Original, open_original

LIBRARIES = ("torch", "transformers", "lm_eval", "datasets")


def run(params: Params, workspace: Workspace, mix: str | None = None) -> str:
    """Evaluate the original (no mix), or the recipes of a mix: every method of the run with every number of experts.

    The models of a mix share a process: importing the libraries takes longer than scoring a small one. A result that
    was made with the same recipe, settings and versions before, by a run that was killed or for other cells of the mix,
    is not made again.

    Raises:
        UserError: see `Harness` and `load_recipe`.
    """
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe

    original = open_original(workspace)
    bench = Bench(params, workspace, original)
    if mix is None:
        cells, out = [bench.score(None)], workspace.original_evaluation
    else:
        cells, out = [], workspace.evaluation(mix)
        grid = params.run.cells(mix)
        with Progress(len(grid), f"evaluate {mix}", "model") as progress:
            for method, experts in grid:
                path = workspace.recipe(mix, method, experts)
                recipe = load_recipe(path)
                check_recipe(recipe, original.manifest.digest, original.manifest.path)
                state = workspace.state("evaluate", mix, method, str(experts))
                cells.append(bench.score(recipe, state, file_digest(path)))
                progress.update()
    write_scores(out, Scores(cells=cells, settings=settings_of(params), versions=versions()))
    return "; ".join(summary(cell) for cell in cells)


class Bench:
    """A suite's tasks and held-out text, and the original: made once for all models that are scored."""

    def __init__(self, params: Params, workspace: Workspace, original: Original) -> None:
        """Args:
        params: all settings. workspace: with the items of the suite. original: the model.
        """
        from transformers import AutoTokenizer

        from ream.evaluation.harness import Harness
        from ream.evaluation.windows import read_windows
        from ream.models.runtime import runtime
        from ream.stages.items import WINDOWS

        self.params, self.original = params, original
        self.device, self.dtype = runtime(*params.compute.placement)
        suite = params.suites[params.evaluation.suite]
        stored = read_windows(workspace.items / WINDOWS) if suite.loss else {}
        self.windows = {source: stored[source] for source in suite.loss}
        self.harness = Harness(suite, params.evaluation, workspace.items if workspace.items.exists() else None)
        self.tokenizer = AutoTokenizer.from_pretrained(
            original.checkpoint.folder, trust_remote_code=params.model.trust_remote_code
        )

    def score(self, recipe: Recipe | None, state: Path | None = None, identity: str = "original") -> Cell:
        """Held-out loss and all tasks of the suite for one model.

        Args:
            recipe: what becomes of the original, None for nothing.
            state: folder for the results of finished tasks. identity: of the recipe.
        """
        from ream.evaluation.loss import window_loss
        from ream.evaluation.store import ResultStore
        from ream.recipe.load import load_model

        params, original = self.params, self.original
        trust = params.model.trust_remote_code
        model = load_model(original.checkpoint, original.architecture, recipe, self.device, self.dtype, trust)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        losses = {
            source: window_loss(model, windows, params.compute.batch_tokens) for source, windows in self.windows.items()
        }
        made_with = f"{original.manifest.digest}/{identity}/{self.device.type}/{self.dtype}/{params.compute.threads}"
        store = None if state is None else ResultStore(state, made_with)
        if params.evaluation.backend == "vllm":
            del model  # vLLM wants the device's memory
            with self._checkpoint(recipe) as folder:
                scores = self.harness.score(folder, None, store)
        else:
            scores = self.harness.score(model, self.tokenizer, store)
        facts = {} if recipe is None else recipe.facts
        return Cell(
            mix=facts.get("mix"),
            method=facts.get("method"),
            experts=facts.get("experts", original.manifest.experts),
            loss=losses,
            mean_loss=mean_loss(losses),
            parameters=parameters,
            bytes=self._bytes(recipe),
            **scores,
        )

    def _bytes(self, recipe: Recipe | None) -> int:
        """Of the tensors of the checkpoint that the recipe would make."""
        from ream.recipe.output_tensors import output_tensors

        checkpoint, unquantised = self.original.checkpoint, self.params.merge.dtype != "original"
        if recipe is None:
            return sum(tensor.bytes for tensor in checkpoint.tensors.values())
        written = output_tensors(checkpoint, self.original.architecture, recipe, unquantised)
        return sum(tensor.bytes for tensors in written.values() for tensor in tensors)

    @contextmanager
    def _checkpoint(self, recipe: Recipe | None) -> Iterator[Path]:
        """The model as a folder of files: the original's own, or one that is written and removed again."""
        from ream.recipe.output import write_checkpoint

        if recipe is None:
            yield self.original.checkpoint.source.whole()
            return
        with tempfile.TemporaryDirectory(prefix="ream-vllm-") as folder:
            write_checkpoint(self.original.checkpoint, self.original.architecture, recipe, Path(folder) / "model")
            yield Path(folder) / "model"


def settings_of(params: Params) -> dict[str, Any]:
    """The sections that scores depend on, as plain values."""
    return {
        "suite": params.evaluation.suite,
        "tasks": params.suites[params.evaluation.suite].model_dump(),
        "evaluation": params.evaluation.model_dump(),
        "compute": params.compute.model_dump(),
    }


def versions() -> dict[str, str]:
    """Versions of ream and of the libraries that scores depend on."""
    return {"ream": __version__} | {name: version(name) for name in LIBRARIES}


def summary(cell: Cell) -> str:
    """A cell's scores in a line."""
    name = f"{cell.mix} {cell.method}" if cell.method else "original"
    values = {"loss": cell.mean_loss, "MC": cell.mc, "GEN": cell.gen}
    shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
    return f"{name} {cell.experts} experts: {shown}"
