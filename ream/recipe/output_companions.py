"""Copying what lies beside the weights into an output: tokenizer, templates, licence and, if it may run, code."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from ream.machine.files import read_table
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.companions import MAPPED, companions, own_code, without_code


def copy_companions(files: Iterable[Path], folder: Path, out: Path, code: bool) -> None:
    """Copy the files of a checkpoint that an output needs.

    Args:
        files: of the checkpoint (`companions`).
        folder: of the checkpoint.
        out: folder of the output.
        code: whether the checkpoint's own modules are among the files. If not, no auto_map names them in the copies:
            transformers, allowed to run code, would look for them and find nothing.
    """
    for path in files:
        copy = out / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        if not code and path.name in MAPPED and without_code(table := read_table(path)) != table:
            copy.write_text(json.dumps(without_code(table), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(path, copy)


def config_without_code(text: str) -> str:
    """The text of config.json without the classes that the checkpoint's own modules define; unchanged without any."""
    config = json.loads(text)
    changed = without_code(config)
    return text if changed == config else json.dumps(changed, indent=2, ensure_ascii=False) + "\n"


def remarks(checkpoint: Checkpoint, trust_remote_code: bool, setting: str) -> list[str]:
    """What may surprise in the output of a checkpoint, a line each; asked before any work.

    Args:
        checkpoint: the original.
        trust_remote_code: whether its own code may run, and is copied.
        setting: that has the code copied.

    Raises:
        UserError: see `companions`.
    """
    companions(checkpoint.folder, quantised=True, code=trust_remote_code)
    code = [] if trust_remote_code else [path.name for path in own_code(checkpoint.folder)]
    if not code:
        return [*checkpoint.remarks]
    left_out = f"{checkpoint.folder}: the model's own code ({', '.join(code)}) is not copied; {setting} copies it"
    return [*checkpoint.remarks, left_out]
