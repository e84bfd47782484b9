"""Stage check: refuse settings that do not fit each other or the model, before any work."""

from ream.compress.decide import absorbed_at_most
from ream.errors import UserError
from ream.evaluation.backends.abilities import check_recipes
from ream.evaluation.suite_checks import check_suite
from ream.machine.files import write_json
from ream.models.family.limits import limits_of
from ream.models.family.sizes import Sizes, check_group_size, check_kept
from ream.models.inspection.manifest import locate, manifest_of
from ream.models.storage.hub import DESCRIPTION
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.needs import needed, write_needs
from ream.workspace.options import StageOptions
from ream.workspace.shares import largest_shares, write_shares


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Check the sizes of the run, the methods and the suite against the model's description.

    Its sign is always the same, so that a new size or method makes no other stage run again. A second file says what
    the statistics consist of: a method that needs more of them makes them run again, and no other does. A file for each
    source says how many of its sequences they are taken of: a mix that draws more of a source makes that source's run
    again. Of the model the stage reads the config and the headers of the shards.

    Raises:
        UserError: the model is not a Mixture-of-Experts model or incomplete, the sizes of the run do not fit it, no mix
            is to be ranked, or the suite cannot be scored (`check_suite`, `check_recipes`).
    """
    if not params.run.rank:
        raise UserError(
            "run.rank names no mix, but the report needs one; add a mix (with rank.sequences: 0 it costs nothing)"
        )
    manifest = manifest_of(params.model.path, params.model.multi_token)
    check_sizes(params, manifest)
    folder, _ = locate(params.model.path, DESCRIPTION)
    limits, name = limits_of(folder), params.evaluation.suite
    suite = params.suites[name]
    check_recipes("each model of the graph", params.evaluation)
    check_suite(suite, params.evaluation, limits)
    if suite.loss:
        limits.check_setting(f"suites.{name}.loss_tokens", suite.loss_tokens)
    write_json(workspace.check, {"checked": True})
    write_needs(workspace, needed(params))
    write_shares(workspace, largest_shares(params))
    write_json(workspace.planned_searches, {"methods": params.run.search})  # for the report, if none of them runs
    cells = sum(len(params.run.cells(mix)) for mix in params.run.mixes)
    return f"the settings fit {manifest.path}: {cells} models of {', '.join(map(str, params.run.experts))} experts"


def check_sizes(params: Params, model: Sizes) -> None:
    """Refuse numbers of experts and group sizes of the run that the model does not allow.

    Raises:
        UserError: K > N, K < k, K is not divisible by the number of router groups, K·C < N − K, or there is no C.
    """
    for experts in params.run.experts:
        check_kept(model, experts)
        group_size = params.grouping.size_for(experts)
        for name in (*params.run.methods(), *params.run.search):
            method = params.method(name)
            if method.grouping == "pseudo-pruning":
                check_group_size(model, experts, absorbed_at_most(method.composition(), group_size))
