"""The models of a mix that one walk evaluates together, each of which has a stage of its own.

The stage that comes first walks all models of its mix whose recipe is there and whose scores are not. It keeps the
scores of the others in the folders of their unfinished work, where their stages find them. Kept scores are used only if
nothing has changed that they depend on; whatever is missing or different is walked again.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.evaluation.scores import Cell
from ream.machine.files import file_digest, read_json, write_json
from ream.models.inspection.manifest import Manifest
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.recipes import read_recipe

SCORES, ANSWERS = "scores.json", "answers.parquet"  # kept for the stage of another model


def companions(
    params: Params, workspace: Workspace, manifest: Manifest, mix: str, method: str, experts: int
) -> Iterator[tuple[str, int, Recipe]]:
    """The other models of a mix that can be evaluated and have not been: method, number of experts, and recipe.

    A recipe that does not fit the settings is passed over: its stage will make it again.
    """
    for other in params.run.cells(mix):
        waits = workspace.recipe(mix, *other).exists() and not workspace.evaluation(mix, *other).exists()
        if other != (method, experts) and waits:
            with suppress(UserError):
                yield (*other, read_recipe(params, workspace, manifest, mix, *other))


def depends_on(settings: Any, made_with: str, windows: Path) -> str:
    """SHA-256 over all that the scores of a model depend on.

    Args:
        settings: plain values.
        made_with: identity of the model, of code and of tasks.
        windows: the file of held-out windows, which may be missing.
    """
    described = [settings, made_with, file_digest(windows) if windows.exists() else None]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def keep(state: Path, fingerprint: str, cell: Cell) -> None:
    """Keep the scores of a model for its own stage; its answers lie there already."""
    write_json(state / SCORES, {"fingerprint": fingerprint, "answers": file_digest(state / ANSWERS),
                                "cell": cell.model_dump()})  # fmt: skip


def kept(state: Path, fingerprint: str) -> Cell | None:
    """The scores that another stage has kept; None where there are none, or they depend on something else."""
    if not (state / SCORES).exists() or not (state / ANSWERS).exists():
        return None
    with suppress(UserError):
        found = read_json(state / SCORES)
        if found.get("fingerprint") == fingerprint and found.get("answers") == file_digest(state / ANSWERS):
            return Cell.model_validate(found["cell"])
    return None
