"""The mix of a compression, as `--mix` names it or own text makes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params import Params


def asked_mix(
    mix: str | None, texts: Sequence[str], calibration: Path | None, base: "Params"
) -> tuple[str, dict[str, float]]:
    """Name and ratios of the mix that is asked for.

    Args:
        mix: ratios ``a=0.3,b=0.7``, the name of a mix, or None: own text in equal parts, else ``balanced``.
        texts: names of the own texts.
        calibration: file of own tokens.
        base: what the params file says.

    Raises:
        UserError: text and tokens are both given, a mix is unknown or not of that form, or it leaves a text out.
    """
    if texts and calibration is not None:
        raise UserError("--text and --calibration are both given; give your text or your tokens")
    if mix is None and texts:
        return "own", dict.fromkeys(texts, 1.0)
    if mix is None:
        return ("own", {"own": 1.0}) if calibration is not None else ("balanced", base.mix("balanced"))
    name, ratios = ("custom", _ratios(mix)) if "=" in mix else (mix, dict(base.mix(mix)))
    unused = [text for text in texts if not ratios.get(text)]
    if unused:
        raise UserError(f"--mix: '{mix}' gives the text '{unused[0]}' no ratio; add {unused[0]}=NUMBER")
    return name, ratios


def _ratios(mix: str) -> dict[str, float]:
    """Source to ratio, as a mix is written."""
    ratios: dict[str, float] = {}
    for part in mix.split(","):
        source, _, number = (word.strip() for word in part.partition("="))
        if source in ratios:
            raise UserError(f"--mix: {source} is given twice; give each source one ratio")
        try:
            ratios[source] = float(number)
        except ValueError:
            raise UserError(f"--mix: '{part}' is not SOURCE=NUMBER, as in general=0.3,math=0.7") from None
    return ratios
