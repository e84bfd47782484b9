"""Stage items: the demo items and held-out windows that all evaluations of the graph share."""

from pathlib import Path
from typing import get_args

from ream.calibration.tokenizer import load_encoder
from ream.errors import unknown
from ream.evaluation.demo.items import TASKS, HeldOut, build_items
from ream.evaluation.suite_checks import check_suite
from ream.evaluation.windows import end_token, held_out_windows, write_windows
from ream.machine.files import building
from ream.models.family.limits import limits_of
from ream.models.inspection.manifest import folder_of, load_manifest
from ream.params import BuiltinSource, Params
from ream.workspace.layout import WINDOWS, Workspace
from ream.workspace.options import StageOptions

SOURCES = get_args(BuiltinSource.model_fields["name"].annotation)


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the items and windows of the suite, cut with the original's tokenizer.

    Raises:
        UserError: see `write_items`; or there is no manifest yet.
    """
    return write_items(params, workspace.items, folder_of(load_manifest(workspace.manifest)))


def write_items(params: Params, out: Path, model: Path) -> str:
    """Write the items of the suite's demo tasks and the windows of its ``loss`` sources; the same bytes each time.

    Args:
        params: all settings; ``evaluation`` and the suite that it names are read.
        out: folder to write: <task>.jsonl for each demo task, WINDOWS for the losses.
        model: folder of the model whose tokenizer cuts the windows and whose end token stands between documents.

    Returns:
        One line that says what was written.

    Raises:
        UserError: a loss source is unknown or has too little text, windows are longer than the model's inputs can be,
            the model has no tokenizer or one with more token ids than it has embeddings, or a task executes code,
            which is not allowed: this stage runs before hours of work, the evaluation after them.
    """
    suite = params.suites[params.evaluation.suite]
    check_suite(suite, params.evaluation)
    for source in suite.loss:
        if source not in SOURCES:
            raise unknown(f"suites.{params.evaluation.suite}.loss: source", source, SOURCES, "the built-in text")
    with building(out) as folder:
        text = HeldOut(params.evaluation.seed)
        written = []
        tasks = [task for task in TASKS if task in {*suite.mc, *suite.gen}]
        if tasks:
            counts = build_items(folder, params.evaluation.seed, text, tasks)
            written.append(f"{sum(counts.values())} items of {len(counts)} tasks")
        if suite.loss:
            _write_windows(folder / WINDOWS, params, text, model)
            written.append(f"{suite.loss_sequences} windows of {suite.loss_tokens} tokens of {', '.join(suite.loss)}")
    return "; ".join(written) or "the suite needs neither items nor windows"


def _write_windows(path: Path, params: Params, text: HeldOut, model: Path) -> None:
    """Write the windows of the suite's ``loss`` sources."""
    suite, limits = params.suites[params.evaluation.suite], limits_of(model)
    limits.check_setting(f"suites.{params.evaluation.suite}.loss_tokens", suite.loss_tokens)
    encoder = load_encoder(str(model), None, params.model.trust_remote_code, params.model.special_tokens)
    end, windows = end_token(model), {}
    for source in suite.loss:
        documents = None if source == "math" else text.documents(source)  # the generated math text is endless
        windows[source] = held_out_windows(
            encoder.plain,
            end,
            source,
            suite.loss_sequences,
            suite.loss_tokens,
            documents,
            encoder.special.before,
        )
        limits.check_encoded([int(windows[source].max())], model)
    write_windows(path, windows)
