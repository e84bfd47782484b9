"""`ream.inspect` and `ream.estimate`: what a model is, and what its compression would need."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ream.api.arguments import Lines, Text, mix_of, path_of, settings_of, texts_of
from ream.api.results import Estimated, Inspected
from ream.commands.estimate import estimated
from ream.commands.inspect import inspect_model
from ream.commands.request import Request
from ream.commands.shipped import params_file
from ream.errors import UserError
from ream.estimate.needs import check_fits


def inspect(model: str | Path) -> Inspected:
    """Describe a model, and what would be compressed, as `ream inspect` does.

    Args:
        model: hub id or folder.

    Raises:
        UserError: the model is missing or damaged, or its family cannot be derived.
    """
    warnings = Lines(None)
    figures = inspect_model(str(model), lambda rows: None, warnings)
    return Inspected(figures, tuple(warnings.kept))


def estimate(
    model: str | Path,
    *,
    experts: int,
    method: str = "ream",
    text: Text = (),
    mix: str | Mapping[str, float] | None = None,
    out: str | Path = ".",
    group_size: int | None = None,
    sequences: int | None = None,
    tokens: int | None = None,
    device: str | None = None,
    ignore: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    params: str | Path | None = None,
) -> Estimated:
    """Estimate what a compression would need before anything runs, as `ream estimate` does.

    The arguments are those of `ream.compress`. Where this machine has too little memory or disk, the result says so in
    ``shortfall``; the command line ends with that line as an error.

    Args:
        model: hub id or folder; a folder with a config.json alone will do.
        experts: K, the experts to keep in every layer.
        method: a method of the params file.
        text: own text; only its name counts here.
        mix: ratio of each source, or the name of a mix.
        out: folder that would be written; its disk must have room.
        group_size: C, the most experts that a centroid absorbs.
        sequences: calibration sequences, of all sources together.
        tokens: of a sequence.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        ignore: layers that keep all experts.
        settings: any other settings, such as ``{"compute.threads": 4}``.
        params: params file or preset.

    Raises:
        UserError: the sizes do not fit the model.
    """
    request = Request(
        model=str(model),
        out=Path(out),
        experts=experts,
        method=method,
        mix=mix_of(mix),
        text=texts_of(text),
        group_size=group_size,
        sequences=sequences,
        tokens=tokens,
        device=device,
        settings=settings_of(settings),
        ignore=tuple(ignore),
    )
    return _estimated(request, path_of(params))


def _estimated(request: Request, params: Path | None) -> Estimated:
    """What a compression as it is asked for would need."""
    needs, figures, concerns = estimated(request, params_file(params))
    try:
        check_fits(needs, request.out)
        shortfall = None
    except UserError as error:
        shortfall = str(error)
    return Estimated(figures, needs, shortfall, tuple(concerns))
