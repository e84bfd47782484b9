"""Stage saliency: the statistics of a mix, from those of its sources, and every saliency of its experts."""

import numpy as np

from ream.compress.rarely_routed import check_seen, remark, warning
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
    """Mix the sums of the sources, without running a model, and write them with the saliencies of all kinds.

    The line warns of experts to which few tokens were routed.

    Raises:
        UserError: the experts of a layer saw no token of a source.
    """
    ratios = params.mix(options.mix)
    used = [source for source, ratio in ratios.items() if ratio > 0]
    indices = load_manifest(workspace.manifest).moe_layers
    layers, routed_tokens = {}, {}
    for index in indices:
        sums = {source: read_sums(workspace.statistics(source), index) for source in used}
        for each in sums.values():
            check_seen(each, index)
        layers[index] = mixed(sums, ratios)
        routed_tokens[index] = np.sum([each.count for each in sums.values()], axis=0)
    digests = {}
    for source in used:
        facts = read_json(workspace.statistics(source) / "facts.json")
        files = {index: file_digest(layer_file(workspace.statistics(source), index)) for index in indices}
        digests[source] = SourceDigests(facts["corpus"], files, facts.get("share"))
    write_mixed(workspace.saliency(options.mix), options.mix, layers, digests, routed_tokens)
    weights = ", ".join(f"{source} {ratio:.2f}" for source, ratio in ratios.items())
    return f"saliency of mix {options.mix} ({weights}): {len(layers)} layers{warning(remark(routed_tokens))}"
