"""How far a long stage is: a bar for people, and lines of JSON for a program that runs the stage."""

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

if "ipykernel" in sys.modules:  # a notebook: a widget where ipywidgets is there, else the same bar
    from tqdm.auto import tqdm
else:
    from tqdm import tqdm

# Environment variable: a file to which events are appended instead of showing a bar.
EVENTS = "REAM_PROGRESS"
INTERVAL_SECONDS = 0.5  # between two events
QUIET_SECONDS = 3  # before a bar shows, for work that is usually done by then


class Progress:
    """A progress bar on stderr or, where EVENTS names a file, lines of JSON in it.

    An event has the keys desc, unit, total (null where unknown), done, elapsed (seconds) and eta (seconds left, null
    where unknown). A walk adds layers, layers_done and tokens_per_second, which counts a token once for every layer it
    goes through. ``note`` is there while work goes on that no unit counts.
    """

    def __init__(
        self,
        total: int | None,
        desc: str,
        unit: str,
        layers: int | None = None,
        tokens: int | None = None,
        delay: float = 0,
        silent: bool = False,
    ) -> None:
        """Start the clock and the bar.

        Args:
            total: units of work; None where unknown.
            desc: what is being done.
            unit: name of a unit of work.
            layers: number of layers, over which the work is spread evenly, one after the other.
            tokens: number of tokens that go through every layer.
            delay: seconds before the bar shows.
            silent: show neither bar nor events, because another process shows its own.
        """
        events = os.environ.get(EVENTS)
        self._path = Path(events) if events and not silent else None
        self._bar: tqdm = tqdm(
            total=total, desc=desc, unit=unit, mininterval=1, delay=delay, disable=silent or self._path is not None
        )
        self._constant = {"desc": desc, "unit": unit, "total": total}
        self._total, self._layers, self._tokens = total, layers, tokens
        self._done, self._skipped, self._note = 0, 0, ""
        self._started, self._last_event = time.monotonic(), float("-inf")

    def __enter__(self) -> "Progress":
        """Return the bar, which shows already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar and write a last event."""
        self._bar.close()
        self._write_event(at_once=True)

    def update(self, n: int = 1) -> None:
        """Count ``n`` more units as done."""
        self._done += n
        self._bar.update(n)
        self._write_event(at_once=self._done == self._total)

    def skip(self, n: int) -> None:
        """Count ``n`` units that an earlier run has done: they are progress, but not speed."""
        self._skipped += n
        self.update(n)

    def note(self, text: str) -> None:
        """Show what is being done that no unit counts, beside the bar and in events; "" when it is over."""
        self._note = text
        self._bar.set_postfix_str(text)
        self._write_event(at_once=False)

    def event(self) -> dict[str, Any]:
        """The event of this moment."""
        elapsed = time.monotonic() - self._started
        speed = (self._done - self._skipped) / elapsed if elapsed > 0 else 0.0
        known = self._total is not None and speed > 0
        event: dict[str, Any] = self._constant | {"done": self._done, "elapsed": round(elapsed, 2)}
        if self._note:
            event["note"] = self._note
        event["eta"] = round((self._total - self._done) / speed, 2) if known and self._total is not None else None
        if self._layers is not None and self._total:
            event |= {"layers": self._layers, "layers_done": self._layers * self._done // self._total}
            if self._tokens is not None:
                event["tokens_per_second"] = round(speed * self._tokens * self._layers / self._total)
        return event

    def _write_event(self, at_once: bool) -> None:
        """Append the event to the file, ``at_once`` or at most every INTERVAL_SECONDS."""
        now = time.monotonic()
        if self._path is None or not (at_once or now - self._last_event >= INTERVAL_SECONDS):
            return
        self._last_event = now
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.event()) + "\n")
        except OSError:  # nobody is left to read it; the work itself goes on
            self._path = None
