"""Windows of held-out tokens, which the graph makes once and every evaluation reads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ream.calibration import builtin
from ream.calibration.document import Document
from ream.errors import UserError
from ream.machine.files import replacing
from ream.models.family.config_json import read_config

PADDING = -1
Windows = Int32[np.ndarray, "n tokens"]


def held_out_windows(
    encode: Callable[[str], list[int]],
    eos_id: int | None,
    source: str,
    sequences: int,
    tokens: int,
    documents: Iterable[Document] | None = None,
    begin: Sequence[int] = (),
    fewest: int | None = None,
) -> Windows:
    """The first windows of a source's held-out text, in which one document follows the other.

    A document of built-in text gives at most one window's tokens, so that no long document dominates the loss; one of
    somebody's own text, of which there may be few, gives all. A window is one input of
    the model, so each begins as the tokenizer begins a text, with BOS where it adds one. The documents inside do not:
    that BOS follows the end of a document says nothing about text, and would count in the loss.

    Args:
        encode: text to token ids, without special tokens.
        eos_id: token id put after each document; None for none.
        source: name of the text; without ``documents`` one of ``general``, ``math``, ``code``.
        sequences: number of windows, n; with ``fewest`` the most.
        tokens: tokens of a window.
        documents: the source's held-out documents if they have been read already; None reads them.
        begin: token ids that every window begins with.
        fewest: windows that somebody's own text must fill, where fewer than ``sequences`` will do; None: built-in text.

    Returns:
        [n, tokens] int32 token ids. If the text ends within the last window, PADDING fills the rest.

    Raises:
        UserError: the text fills fewer windows.
    """
    room = tokens - len(begin)
    wanted, stream = sequences * room, list[int]()
    for document in builtin.documents(source, "held-out") if documents is None else documents:
        stream += encode(document.text)[: room if fewest is None else None]
        if eos_id is not None:
            stream.append(eos_id)
        if len(stream) >= wanted:
            break
    full = len(stream) // room
    if fewest is not None and full < sequences:
        if full < fewest:
            raise UserError(
                f"the held-out text of '{source}' fills {full} windows of {tokens} tokens, but {fewest} are needed; "
                "give it more text, hold out more of it (held_out), or lower the suite's loss_tokens"
            )
        sequences, wanted = full, full * room
    elif len(stream) <= wanted - room:
        raise UserError(
            f"the held-out text of '{source}' fills {full} windows of {tokens} tokens, but {sequences} are needed; "
            "lower the suite's loss_sequences or loss_tokens"
        )
    text = np.full(wanted, PADDING, dtype=np.int32)
    text[: len(stream)] = stream[:wanted]
    starts = np.tile(np.array(begin, dtype=np.int32), (sequences, 1))
    return np.concatenate([starts, text.reshape(sequences, room)], axis=1)


def write_windows(path: Path, windows: Mapping[str, Windows]) -> None:
    """Write windows as safetensors, one tensor a source; the same windows give the same bytes."""
    content = save({source: np.ascontiguousarray(windows[source]) for source in sorted(windows)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_windows(path: Path) -> dict[str, Windows]:
    """The windows that `write_windows` wrote.

    Raises:
        UserError: the file is missing or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the items stage, which writes it") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file ({error}); run the items stage again") from None


def end_token(folder: Path) -> int | None:
    """The first end-of-text id in a model's config; None where the config names none.

    Raises:
        UserError: see `read_config`.
    """
    config = read_config(folder / "config.json")
    levels = (config, config.get("text_config") or {})
    ends: list[int | list[int]] = [
        level["eos_token_id"] for level in levels if level.get("eos_token_id") not in (None, [])
    ]
    end: int | list[int] | None = next(iter(ends), None)
    return end[0] if isinstance(end, list) else end
