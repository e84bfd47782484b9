"""Reading the recipe of a cell, and refusing one that was made with other settings."""

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.machine.differences import difference
from ream.models.inspection.manifest import Manifest
from ream.params import Params
from ream.recipe.output import check_recipe
from ream.recipe.recipe_file import load_recipe
from ream.workspace.layout import Workspace
from ream.workspace.original import asked_facts

# The settings of a recipe that name what it is; the others say what it was calibrated on.
COMPARED = ("method", "composition", "mix", "ratios", "experts", "group_size")


def read_recipe(
    params: Params, workspace: Workspace, manifest: Manifest, mix: str, method: str, experts: int
) -> Recipe:
    """The recipe of a cell of the graph.

    Raises:
        UserError: it is missing, damaged, of another model, or made with other settings than those of the params file.
    """
    path = workspace.recipe(mix, method, experts)
    recipe = load_recipe(path)
    check_recipe(recipe, manifest.digest, manifest.path)
    asked = asked_facts(params, manifest, mix, method, experts)
    differs = difference({name: recipe.facts.get(name) for name in COMPARED}, {name: asked[name] for name in COMPARED})
    if differs:
        raise UserError(f"{path} was made with other settings: {differs}; make it again: dvc repro --force {path}")
    return recipe
