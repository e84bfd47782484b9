"""Stage model: describe the original, and read its weights once to check them."""

from dataclasses import replace

from ream.machine.files import read_json
from ream.models.inspection.manifest import checkpoint_of, manifest_of
from ream.models.storage.finite import check_weights
from ream.params import Params
from ream.workspace.layout import MODEL, Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the manifest, and read all weights of a local model once to check that they are finite.

    The weights of a hub model are checked when they are fetched, before a layer is worked on. An interrupted
    `ream compress` that goes on (``keep_state``, with finished layers) has checked the weights before.

    Raises:
        UserError: the model is not a Mixture-of-Experts model or incomplete, or a weight is NaN or Inf.
    """
    manifest = manifest_of(params.model.path, params.model.multi_token)
    if workspace.input(MODEL).exists():  # in the graph, which watches a local model
        manifest = replace(manifest, files=read_json(workspace.input(MODEL))["files"])
    if manifest.revision is None and not (options.keep_state and workspace.has_finished_layers()):
        check_weights(checkpoint_of(manifest))
    manifest.save(workspace.manifest)
    return (
        f"{manifest.path}: {manifest.family}, {len(manifest.moe_layers)} of {manifest.layers} layers with "
        f"{manifest.experts} experts, {manifest.top_k} active; {manifest.parameters:,} parameters"
    )
