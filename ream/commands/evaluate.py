"""`ream evaluate`: score one model outside of the graph."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from ream.errors import unknown
from ream.evaluation.scores import Scores, write_scores
from ream.params import Suite, load_params, parse_params
from ream.stages.evaluate import Bench, settings_of, summary, versions
from ream.workspace.layout import Workspace
from ream.workspace.original import open_original


def evaluate_alone(
    params_path: Path,
    model: str,
    suite: str | None,
    recipe: Path | None,
    out: Path | None,
    backend: str | None,
    limit: int | None,
    threads: int | None,
    allow_code_execution: bool,
    say: Callable[[str], None],
) -> None:
    """`ream evaluate`: score one model outside the graph.

    Raises:
        UserError: an unknown suite, or what the stages refuse.
    """
    from ream.models.inspection.manifest import manifest_of
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe
    from ream.stages import items

    base = load_params(params_path)
    name = suite or base.evaluation.suite
    if name not in base.suites:
        raise unknown("suite", name, base.suites, f"{params_path}, 'suites',")
    tree = base.model_dump()
    tree["model"]["path"] = model
    tree["compute"]["threads"] = threads or "auto"
    tree["evaluation"] |= {
        "suite": name,
        "allow_code_execution": allow_code_execution or base.evaluation.allow_code_execution,
    }
    tree["evaluation"] |= {"backend": backend} if backend else {}
    tree["suites"][name] |= {"limit": limit} if limit else {}
    params = parse_params(tree, str(params_path))
    loaded = None if recipe is None else load_recipe(recipe)
    manifest = manifest_of(model)
    if loaded is not None:
        check_recipe(loaded, manifest.digest, model)
    with tempfile.TemporaryDirectory(prefix="ream-evaluate-") as folder:
        workspace = Workspace(Path(folder))
        manifest.save(workspace.manifest)
        if _needs_items(params.suites[name], Path(params.evaluation.include)):
            say(items.run(params, workspace))
        cell = Bench(params, workspace, open_original(workspace)).score(loaded)
    say(summary(cell))
    scores = Scores(cells=[cell], settings=settings_of(params), versions=versions())
    if out is None:
        say(json.dumps(scores.model_dump(), indent=1))
    else:
        write_scores(out, scores)
        say(f"results: {out}")


def _needs_items(suite: Suite, include: Path) -> bool:
    return bool(suite.loss) or any((include / f"{task}.yaml").exists() for task in (*suite.mc, *suite.gen))
