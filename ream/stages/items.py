"""Stage items: the demo items and held-out windows that all evaluations of the graph share."""

from pathlib import Path

from ream.calibration.tokenizer import load_encoder
from ream.evaluation.demo.items import TASKS, HeldOut, build_items
from ream.evaluation.suite_checks import check_suite
from ream.evaluation.windows import Windows, end_token, held_out_windows, write_windows
from ream.machine.files import building
from ream.models.family.limits import limits_of
from ream.models.inspection.manifest import folder_of, load_manifest
from ream.params import BuiltinSource, Params
from ream.workspace.layout import WINDOWS, Workspace
from ream.workspace.options import StageOptions


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
        UserError: a loss source is unknown, holds nothing out or has too little text, windows are longer than the
            model's inputs can be, the model has no tokenizer or one with more token ids than it has embeddings, or a
            task executes code, which is not allowed: this stage runs before hours of work, the evaluation after them.
    """
    suite = params.suites[params.evaluation.suite]
    check_suite(suite, params.evaluation)
    for source in suite.loss:
        params.loss_source(source)
    with building(out) as folder:
        text = HeldOut(params.evaluation.seed)
        written = []
        tasks = [task for task in TASKS if task in {*suite.mc, *suite.gen}]
        if tasks:
            counts = build_items(folder, params.evaluation.seed, text, tasks)
            written.append(f"{sum(counts.values())} items of {len(counts)} tasks")
        if suite.loss:
            windows = _windows(params, text, model)
            write_windows(folder / WINDOWS, windows)
            written.append(_counts(windows, suite.loss_tokens))
    return "; ".join(written) or "the suite needs neither items nor windows"


def _windows(params: Params, text: HeldOut, model: Path) -> dict[str, Windows]:
    """The windows of the suite's ``loss`` sources."""
    suite, limits = params.suites[params.evaluation.suite], limits_of(model)
    limits.check_setting(f"suites.{params.evaluation.suite}.loss_tokens", suite.loss_tokens)
    encoder = load_encoder(str(model), None, params.model.trust_remote_code, params.model.special_tokens)
    end, windows, sizes = end_token(model), dict[str, Windows](), (suite.loss_sequences, suite.loss_tokens)
    for name in suite.loss:
        source = params.loss_source(name)
        if isinstance(source, BuiltinSource):
            # the generated math text is endless
            documents = None if source.name == "math" else text.documents(source.name)
            windows[name] = held_out_windows(encoder.plain, end, source.name, *sizes, documents, encoder.special.before)
        else:
            from ream.calibration.chat import ChatTemplate
            from ream.evaluation.own_text import loss_windows

            chat = ChatTemplate(model, params.model.trust_remote_code)
            windows[name] = loss_windows(name, source, encoder, chat, end, *sizes, params.evaluation.seed)
        limits.check_encoded([int(windows[name].max())], model)
    return windows


def _counts(windows: dict[str, Windows], tokens: int) -> str:
    """How many windows the sources have: one number where all are alike."""
    names: dict[int, list[str]] = {}
    for name, rows in windows.items():
        names.setdefault(len(rows), []).append(name)
    return ", ".join(f"{count} windows of {tokens} tokens of {', '.join(of)}" for count, of in names.items())
