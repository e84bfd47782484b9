"""Stage mixture: the calibration sequences of a mix, for the methods that walk all of its sources at once."""

from ream.calibration.corpus import read_corpus, write_corpus
from ream.calibration.mixing import TOO_FEW, largest_remainder, mix_sequences
from ream.errors import UserError
from ream.machine.files import file_digest
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Draw the sequences of a mix from those of its sources.

    What depends on the mix depends on this file, and so on the mix's own sources alone. If a source has too few
    sequences, the file has no rows and says why: one-shot methods, which weight the statistics, do without them.
    """
    mix, ratios, total = options.mix, params.mix(options.mix), params.calibration.sequences
    used = [source for source, ratio in ratios.items() if ratio > 0]
    corpora = {source: read_corpus(workspace.calibration(source)).sequences for source in used}
    facts = {"mix": mix, "calibration": {source: file_digest(workspace.calibration(source)) for source in used}}
    try:
        rows = mix_sequences(corpora, ratios, total)
    except UserError as error:
        write_corpus(workspace.mixture(mix), [], facts | {TOO_FEW: str(error)})
        return f"mixture {mix}: for one-shot methods alone; {error}"
    write_corpus(workspace.mixture(mix), rows, facts)
    shares = ", ".join(f"{source} {share}" for source, share in largest_remainder(ratios, total).items())
    return f"mixture {mix}: {len(rows)} sequences ({shares})"
