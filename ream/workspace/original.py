"""Opening the original model that the manifest describes, and the provenance of recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ream import __version__
from ream.models.family.architecture import Architecture
from ream.models.family.limits import Limits
from ream.models.inspection.admission import Admitted, admit
from ream.models.inspection.manifest import Manifest, checkpoint_of, load_manifest, source_of
from ream.models.storage.checkpoint import Checkpoint
from ream.params import Params
from ream.params.model import Model
from ream.workspace.layout import Workspace

if TYPE_CHECKING:
    from ream.models.decoder import Decoder


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


def admitted(model: Model, multi_token: str) -> Admitted:
    """The model of the settings, compared with its modelling code, before a command begins its work.

    Args:
        model: section of the settings.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``.

    Raises:
        UserError: see `source_of` and `admit`.
    """
    source = source_of(model.path, model.keep_shards)
    return admit(source, multi_token, against_code=True, trust_remote_code=model.trust_remote_code)


def open_original(workspace: Workspace, keep_shards: bool = True) -> Original:
    """Open the model of the workspace's manifest.

    Args:
        workspace: with the manifest.
        keep_shards: whether downloaded shards of a hub model stay in the hub's cache.

    Raises:
        UserError: the model has changed since the manifest was written, or is incomplete.
    """
    manifest = load_manifest(workspace.manifest)
    opened = admit(checkpoint_of(manifest, keep_shards), manifest.multi_token, against_code=False)  # Decoder does
    return Original(manifest, opened.checkpoint, opened.architecture)


def open_decoder(params: Params, original: Original) -> "Decoder":
    """The original's decoder where and in the dtype that ``compute`` says; a derived family is proved first.

    Of a model on the hub, the proof fetches the shards of one layer.

    Raises:
        UserError: see `Decoder` and `prove`.
    """
    from ream.models.decoder import Decoder
    from ream.models.runtime import runtime

    checkpoint, architecture = original.checkpoint, original.architecture
    decoder = Decoder(checkpoint, architecture, *runtime(*params.compute.placement), params.model.trust_remote_code)
    if architecture.family.derived:
        from ream.models.family.derived.proof import prove

        prove(checkpoint, architecture)
    return decoder


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
