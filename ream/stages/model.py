"""Stage model: describe the original and refuse, before any work, what it cannot be turned into."""

from ream.compress.decide import absorbed_at_most
from ream.errors import UserError
from ream.models.family.sizes import check_group_size, check_kept
from ream.models.inspection.manifest import Manifest, checkpoint_of, manifest_of
from ream.models.storage.finite import check_weights
from ream.params import Params
from ream.workspace.layout import Workspace


def run(params: Params, workspace: Workspace, begun: bool = False) -> str:
    """Write the manifest, and read all weights of a local model once, to see that they are numbers.

    A hub model's are seen when they have been fetched, each layer's before its work.

    Args:
        params: all settings. workspace: for the manifest.
        begun: a run that was interrupted goes on, and has read the weights before.

    Raises:
        UserError: the model is no MoE or not all there, the run's sizes do not fit it, or a weight is NaN or Inf.
    """
    if not params.run.rank:
        raise UserError(
            "run.rank names no mix, and the graph's report needs one; rank.sequences: 0 makes it cost nothing"
        )
    manifest = manifest_of(params.model.path, params.model.multi_token)
    check_sizes(params, manifest)
    if manifest.revision is None and not begun:
        check_weights(checkpoint_of(manifest))
    manifest.save(workspace.manifest)
    return (
        f"{manifest.path}: {manifest.family}, {len(manifest.moe_layers)} of {manifest.layers} layers with "
        f"{manifest.experts} experts, {manifest.top_k} active; {manifest.parameters:,} parameters"
    )


def check_sizes(params: Params, manifest: Manifest) -> None:
    """Hold every number of experts and group size of the run against the model.

    Raises:
        UserError: K > N, K < k, K not divisible by the router's groups, or K·C < N − K.
    """
    for experts in params.run.experts:
        check_kept(manifest, experts)
        for name in params.run.methods():
            method = params.method(name)
            if method.grouping == "pseudo-pruning":
                check_group_size(
                    manifest, experts, absorbed_at_most(method.composition(), params.grouping.size_for(experts))
                )
