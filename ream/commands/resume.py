"""Whether `ream compress` may continue an interrupted run: only with the same settings."""

import shutil
from pathlib import Path
from typing import Any

from ream import __version__
from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.params import Params
from ream.workspace.codes import fingerprint_of, identity
from ream.workspace.layout import Workspace


def settings_of(params: Params, mix: str, method: str, experts: int, ranks: int = 1) -> dict[str, Any]:
    """Everything that a request asks for and its output may depend on, as plain values.

    Args:
        params: all settings.
        mix: name of the mix.
        method: name of the method.
        experts: K.
        ranks: the number of processes; a single one is not mentioned.
    """
    ratios = params.mix(mix)
    return {
        **({"ranks": ranks} if ranks > 1 else {}),
        "experts": experts,
        "method": method,
        "mix": mix,
        "model": params.model.model_dump(exclude={"keep_shards"}),  # changes no result
        **{name: getattr(params, name).model_dump() for name in ("calibration", "statistics", "merge")},
        "compute": params.compute.model_dump(exclude={"hidden_memory_gb"}),  # changes no result
        "grouping": params.grouping.model_dump(),
        "methods": {method: params.method(method).model_dump()},
        "mixes": {mix: ratios},
        "sources": {source: params.sources[source].model_dump() for source, ratio in ratios.items() if ratio > 0},
        "ream": __version__,
        "code": code_of(params, method),
    }


def code_of(params: Params, *methods: str) -> str:
    """The identity of the code that compresses a model by some methods (`ream.workspace.codes`)."""
    kinds = dict.fromkeys(params.method(method).sequential for method in methods)
    stages = {True: ("sequential",), False: ("statistics", "saliency", "grouping", "alignment")}
    return identity(fingerprint_of("calibration", "mixture", *(name for kind in kinds for name in stages[kind])))


def begin(workspace: Workspace, settings: dict[str, Any]) -> None:
    """Record the settings of the run before its first layer."""
    write_json(workspace.request, settings)


def check_settings(workspace: Workspace, settings: dict[str, Any]) -> None:
    """Refuse to continue an interrupted run with other settings.

    Raises:
        UserError: names the first setting that differs, with its old and new value.
    """
    from ream.machine.differences import difference

    if not workspace.request.exists() or not workspace.has_finished_layers():
        return
    if differs := difference(read_json(workspace.request), settings):
        raise UserError(
            f"{workspace.root} holds an interrupted run with other settings: {differs}; "
            "give the old settings to resume it, or delete that folder to start over"
        )


def remove(workspace: Workspace) -> None:
    """Remove a workspace; the record that `is_finished` reads goes last, so that a kill leaves it readable."""
    for path in workspace.root.iterdir():
        if path != workspace.request:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(workspace.root)


def is_finished(
    out: Path, workspace: Workspace, settings: dict[str, Any], params: Params, mix: str, method: str, experts: int
) -> bool:
    """Whether the output is complete and the one asked for, as after a kill while the workspace was removed.

    Raises:
        UserError: the output's recipe is damaged.
    """
    from ream.machine.differences import difference
    from ream.models.inspection.manifest import manifest_of
    from ream.recipe.contents import recipe_name
    from ream.recipe.recipe_file import load_recipe
    from ream.workspace.original import asked_facts

    path = out / recipe_name(out)
    if not path.is_file() or (workspace.request.exists() and read_json(workspace.request) != settings):
        return False
    facts = load_recipe(path).facts
    asked = asked_facts(params, manifest_of(params.model.path), mix, method, experts)
    return not difference({name: facts.get(name) for name in asked}, asked)
