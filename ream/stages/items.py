"""Stage items: what all evaluations of the graph share, made once: demo items and held-out windows."""

from pathlib import Path
from typing import get_args

from ream.calibration.tokenizer import load_encoder
from ream.errors import unknown
from ream.evaluation.demo.items import TASKS, HeldOut, build_items
from ream.evaluation.pinned import PINNED
from ream.evaluation.settings import check_code_execution
from ream.evaluation.windows import held_out_windows, write_windows
from ream.machine.files import building, read_table
from ream.models.inspection.manifest import folder_of, load_manifest
from ream.params import BuiltinSource, Params
from ream.workspace.layout import Workspace

SOURCES = get_args(BuiltinSource.model_fields["name"].annotation)
WINDOWS = "windows.safetensors"


def run(params: Params, workspace: Workspace) -> str:
    """Write the items and windows of the suite to the workspace, with the original's tokenizer.

    Raises:
        UserError: see `write_items`; or there is no manifest yet.
    """
    return write_items(params, workspace.items, str(folder_of(load_manifest(workspace.manifest))))


def write_items(params: Params, out: Path, model_path: str) -> str:
    """Write the items of the suite's demo tasks and the windows of its ``loss`` sources; the same bytes each time.

    Args:
        params: all settings; ``evaluation`` and the suite that it names are read.
        out: folder: <task>.jsonl for each demo task, WINDOWS for the losses.
        model_path: folder of the model whose tokenizer cuts the windows and whose end token stands between documents.

    Returns:
        What was written, in a line.

    Raises:
        UserError: a loss source is unknown or has too little text, or the model has no tokenizer; or a task executes
            code, which is not allowed: this stage comes before hours of work, the evaluation after.
    """
    suite = params.suites[params.evaluation.suite]
    for task in (*suite.mc, *suite.gen):
        if task in PINNED and PINNED[task].runs_code:
            check_code_execution(task, params.evaluation)
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
            encode = load_encoder(model_path, None, params.model.trust_remote_code).encode
            end = end_token(Path(model_path))
            windows = {}
            for source in suite.loss:
                documents = None if source == "math" else text.documents(source)  # math never ends
                windows[source] = held_out_windows(
                    encode, end, source, suite.loss_sequences, suite.loss_tokens, documents
                )
            write_windows(folder / WINDOWS, windows)
            written.append(f"{suite.loss_sequences} windows of {suite.loss_tokens} tokens of {', '.join(suite.loss)}")
    return "; ".join(written) or "the suite needs neither items nor windows"


def end_token(folder: Path) -> int | None:
    """The first end-of-text id of a model's config, None where it names none.

    Raises:
        UserError: there is no config.json, or it isn't JSON.
    """
    config = read_table(folder / "config.json")
    end = config.get("eos_token_id", config.get("text_config", {}).get("eos_token_id"))
    return end[0] if isinstance(end, list) else end
