"""How a command ends that was interrupted, ran out of memory, or met a file that failed: one line and an exit code.

What is kept of the work, and how to go on, is known where the work is done, which adds a note to the error
(`BaseException.add_note`). All other errors are bugs of ours and keep their traceback.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

WRONG, INTERRUPTED = 2, 130  # exit codes; 130 is 128 plus the number of SIGINT, as in a shell
GOES_ON = "what is finished is kept; give the same command again to go on from there"
HOST_FULL = "can't allocate memory"  # of the RuntimeError that torch raises for the host's memory


def ending(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code for an error that is not a bug; None for a bug."""
    if isinstance(error, KeyboardInterrupt | InterruptionError):
        return _noted("interrupted", error), INTERRUPTED
    if _out_of_memory(error):
        reason = _line(error)
        line = f"out of memory{f' ({reason})' if reason else ''}; lower compute.batch_tokens or calibration.sequences, "
        line += "in an evaluation evaluation.batch_size, or use a larger machine (`ream estimate` shows what is needed)"
        return _noted(line, error), WRONG
    if isinstance(error, RecursionError):
        line = f"an input is nested too deeply to be read (in {_place(error)}); look at the model's config.json, "
        return _noted(f"{line}tokenizer and chat template, and at task and params files", error), WRONG
    if isinstance(error, OSError):
        return _noted(_failed(error), error), WRONG
    return None


class InterruptionError(Exception):
    """A command was interrupted. It passes typer, which ends at a KeyboardInterrupt itself and forgets its notes."""


@contextmanager
def noting(note: str) -> Iterator[None]:
    """Add a note to whatever ends the block."""
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        raise


def _out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: Python's, numpy's or pyarrow's, or torch's on a GPU or on the host."""
    torch = sys.modules.get("torch")  # not imported where nothing could have failed in it
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    on_host = isinstance(error, RuntimeError) and HOST_FULL in str(error)
    return isinstance(error, MemoryError) or on_device or on_host


def _failed(error: OSError) -> str:
    """The file that failed, and the operating system's own words."""
    reason = error.strerror or _line(error) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' and '.join(names)}: {reason}" if names else reason


def _noted(line: str, error: BaseException) -> str:
    return "; ".join([line, *dict.fromkeys(getattr(error, "__notes__", []))])


def _line(error: BaseException) -> str:
    """The error's message on one line, up to its first full stop."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def _place(error: BaseException) -> str:
    """The function of ream in which an error began, or else the last one called."""
    place, trace = "an unknown place", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if trace.tb_frame.f_globals.get("__name__", "").split(".")[0] == "ream":
            place = f"{trace.tb_frame.f_globals['__name__']}.{code.co_name}"
        trace = trace.tb_next
    return place
