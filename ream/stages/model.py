"""Stage model: describe the original, and refuse sizes that do not fit it before any work."""

from ream.compress.decide import absorbed_at_most
from ream.errors import UserError
from ream.models.family.sizes import Sizes, check_group_size, check_kept
from ream.models.inspection.manifest import checkpoint_of, manifest_of
from ream.models.storage.finite import check_weights
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the manifest, and read all weights of a local model once to check that they are finite.

    The weights of a hub model are checked when they are fetched, before a layer is worked on. An interrupted
    `ream compress` that goes on (``keep_state``, with finished layers) has checked the weights before.

    Raises:
        UserError: the model is not a Mixture-of-Experts model or incomplete, the sizes of the run do not fit it, or a
            weight is NaN or Inf.
    """
    if not params.run.rank:
        raise UserError(
            "run.rank names no mix, but the report needs one; add a mix (with rank.sequences: 0 it costs nothing)"
        )
    manifest = manifest_of(params.model.path, params.model.multi_token)
    check_sizes(params, manifest)
    if manifest.revision is None and not (options.keep_state and workspace.has_finished_layers()):
        check_weights(checkpoint_of(manifest))
    manifest.save(workspace.manifest)
    return (
        f"{manifest.path}: {manifest.family}, {len(manifest.moe_layers)} of {manifest.layers} layers with "
        f"{manifest.experts} experts, {manifest.top_k} active; {manifest.parameters:,} parameters"
    )


def check_sizes(params: Params, model: Sizes) -> None:
    """Refuse numbers of experts and group sizes of the run that the model does not allow.

    Raises:
        UserError: K > N, K < k, K is not divisible by the number of router groups, or K·C < N − K.
    """
    for experts in params.run.experts:
        check_kept(model, experts)
        for name in params.run.methods():
            method = params.method(name)
            if method.grouping == "pseudo-pruning":
                group_size = absorbed_at_most(method.composition(), params.grouping.size_for(experts))
                check_group_size(model, experts, group_size)
