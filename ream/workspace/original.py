"""Opening the original model that the manifest describes, and the provenance of recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream import __version__
from ream.models.family.architecture import Architecture, architecture_of, without_multi_token
from ream.models.family.limits import Limits
from ream.models.inspection.manifest import Manifest, checkpoint_of, load_manifest
from ream.models.storage.checkpoint import Checkpoint
from ream.params import Params
from ream.workspace.layout import Workspace


@dataclass(frozen=True)
class Original:
    """The original model: its manifest, checkpoint and architecture."""

    manifest: Manifest
    checkpoint: Checkpoint
    architecture: Architecture

    @property
    def limits(self) -> Limits:
        """What the model's inputs can be."""
        family, config = self.architecture.family, self.checkpoint.config
        return Limits(family.vocabulary(config), family.positions(config))


def open_original(workspace: Workspace, keep_shards: bool = True) -> Original:
    """Open the model of the workspace's manifest.

    Args:
        workspace: with the manifest.
        keep_shards: whether downloaded shards of a hub model stay in the hub's cache.

    Raises:
        UserError: the model has changed since the manifest was written, or is incomplete.
    """
    manifest = load_manifest(workspace.manifest)
    checkpoint = checkpoint_of(manifest, keep_shards)
    architecture = architecture_of(checkpoint)
    if manifest.multi_token == "drop":
        architecture = without_multi_token(architecture)
    return Original(manifest, checkpoint, architecture)


def recipe_facts(
    params: Params, manifest: Manifest, mix: str, method: str, experts: int, calibration: Mapping[str, str]
) -> dict[str, Any]:
    """The facts of a recipe, its provenance: model, method, mix, sizes, hashes of the calibration text, and version.

    Args:
        params: all settings.
        manifest: of the original.
        mix: name of the mix.
        method: name of the method.
        experts: K.
        calibration: source to the SHA-256 of its calibration sequences.
    """
    return {
        **asked_facts(params, manifest, mix, method, experts),
        "calibration": dict(calibration),
        "ream": __version__,
    }


def asked_facts(params: Params, manifest: Manifest, mix: str, method: str, experts: int) -> dict[str, Any]:
    """The facts of a recipe that are known before the calibration text is drawn."""
    return {
        "model": manifest.path,
        "revision": manifest.revision,
        "digest": manifest.digest,
        "method": method,
        "composition": params.method(method).model_dump(),
        "mix": mix,
        "ratios": params.mix(mix),
        "experts": experts,
        "original_experts": manifest.experts,
        "group_size": params.grouping.size_for(experts),
        "sequences": params.calibration.sequences,
        "tokens": params.calibration.tokens,
        "seed": params.calibration.seed,
    }
