"""Seconds and peak memory of the stages on this machine, recorded beside the artifacts and unknown to DVC.

They differ from run to run, so they are not outputs of the stages: dvc.lock stays the same wherever the graph runs.
Artifacts from DVC's cache or another machine have no record.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.machine.memory import peak_memory
from ream.params import Params
from ream.workspace.layout import Workspace


@dataclass(frozen=True)
class Usage:
    """Time and memory of one or several stages.

    Attributes:
        seconds: wall time.
        host_bytes: peak memory of the process.
        device_bytes: peak memory on the GPU; 0 without one.
    """

    seconds: float
    host_bytes: int
    device_bytes: int = 0


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Record the usage of the block in a file, unless the block raises."""
    started = time.monotonic()
    yield
    usage = {"seconds": time.monotonic() - started, "host_bytes": peak_memory(), "device_bytes": _on_device()}
    write_json(path, usage)


def _on_device() -> int:
    """Peak bytes on the GPU; 0 without one."""
    torch = sys.modules.get("torch")  # a stage that has not imported torch uses no GPU
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else 0


def cost_of(params: Params, workspace: Workspace, mix: str, method: str, experts: int) -> Usage | None:
    """The usage of making a recipe from the original and the calibration text: sum of seconds, highest peaks.

    Stages are shared: the statistics by all one-shot methods and mixes, the drawing of a mix by all its sequential
    methods. Each recipe is charged with all of them, as if it had been made alone.

    Returns:
        None if a stage has no record on this machine.
    """
    if params.method(method).sequential:
        stages = [f"mixture-{mix}", f"sequential-{mix}-{method}-{experts}"]
    else:
        sources = [source for source, ratio in params.mix(mix).items() if ratio > 0]
        stages = [*(f"statistics-{source}" for source in sources), f"saliency-{mix}",
                  f"grouping-{mix}-{method}-{experts}", f"alignment-{mix}-{method}-{experts}"]  # fmt: skip
    usages = [usage for stage in stages if (usage := _read(workspace.cost(stage))) is not None]
    return together(usages) if len(usages) == len(stages) else None


def together(parts: Iterable[Usage]) -> Usage:
    """The usage of stages that run one after the other."""
    listed = list(parts)
    return Usage(
        sum(part.seconds for part in listed),
        max(part.host_bytes for part in listed),
        max(part.device_bytes for part in listed),
    )


def _read(path: Path) -> Usage | None:
    """The record of a stage; None if it is missing, damaged or of another version."""
    if not path.exists():
        return None
    try:
        return Usage(**read_json(path))
    except (UserError, TypeError):
        return None
