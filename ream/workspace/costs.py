"""What stages take on this machine: seconds and peak memory, kept beside the artifacts and outside of DVC.

They differ from run to run, so they are no stage's output: dvc.lock stays the same wherever the graph is run. What
comes from DVC's cache or another machine has none.
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
class Taken:
    """Wall seconds, and the most memory in use: of the process and, where there is a GPU, on that. Bytes."""

    seconds: float
    host_bytes: int
    device_bytes: int = 0


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Measure a stage and keep what it took, if it comes to its end."""
    started = time.monotonic()
    yield
    taken = {"seconds": time.monotonic() - started, "host_bytes": peak_memory(), "device_bytes": _on_device()}
    write_json(path, taken)


def _on_device() -> int:
    torch = sys.modules.get("torch")  # a light stage has not imported it, and has nothing there
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else 0


def cost_of(params: Params, workspace: Workspace, mix: str, method: str, experts: int) -> Taken | None:
    """What making a recipe took, from the original and the calibration text on: sum of seconds, highest peaks.

    A one-shot method's grouping and alignment are for all sizes at once, and its statistics for all methods and mixes;
    each recipe is charged with all of them, as if it had been made alone.

    Returns:
        None where a stage has no record on this machine.
    """
    if params.method(method).sequential:
        stages = [f"sequential-{mix}-{method}-{experts}"]
    else:
        sources = [source for source, ratio in params.mix(mix).items() if ratio > 0]
        stages = [*(f"statistics-{source}" for source in sources), f"saliency-{mix}",
                  f"grouping-{mix}-{method}", f"alignment-{mix}-{method}"]  # fmt: skip
    found = [_read(workspace.cost(stage)) for stage in stages]
    known = [taken for taken in found if taken is not None]
    return together(known) if len(known) == len(stages) else None


def together(parts: Iterable[Taken]) -> Taken:
    """Of stages one after the other."""
    listed = list(parts)
    return Taken(
        sum(part.seconds for part in listed),
        max(part.host_bytes for part in listed),
        max(part.device_bytes for part in listed),
    )


def _read(path: Path) -> Taken | None:
    if not path.exists():
        return None
    try:
        return Taken(**read_json(path))
    except (UserError, TypeError):  # damaged, or of another version: as good as none
        return None
