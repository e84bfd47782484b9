"""Stage saliency: the statistics of a mix, from those of its sources, and every saliency of its experts."""

from ream.compress.statistics_file import read_sums
from ream.core.sums import mixed
from ream.machine.files import file_digest, read_json
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.walk.layer_file import layer_file
from ream.workspace.layout import Workspace
from ream.workspace.mixed_statistics import SourceDigests, write_mixed
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Mix the sums of the sources, without running a model, and write them with the saliencies of all kinds."""
    ratios = params.mix(options.mix)
    used = [source for source, ratio in ratios.items() if ratio > 0]
    indices = load_manifest(workspace.manifest).moe_layers
    layers = {
        index: mixed({source: read_sums(workspace.statistics(source), index) for source in used}, ratios)
        for index in indices
    }
    digests = {
        source: SourceDigests(
            read_json(workspace.statistics(source) / "facts.json")["corpus"],
            {index: file_digest(layer_file(workspace.statistics(source), index)) for index in indices},
        )
        for source in used
    }
    write_mixed(workspace.saliency(options.mix), options.mix, layers, digests)
    weights = ", ".join(f"{source} {ratio:.2f}" for source, ratio in ratios.items())
    return f"saliency of mix {options.mix} ({weights}): {len(layers)} layers"
