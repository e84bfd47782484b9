"""Reading and checking the fields of CSV files of results, published and imported."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ream.errors import UserError
from ream.machine.documents import MIB, read_bytes

# Results are printed with one decimal: a printed mean is at most half a unit of it from the mean of printed numbers.
ROUNDING = 0.05 + 1e-9
MOST_BYTES = 16 * MIB  # of a CSV file
MOST_DIGITS = 18  # of a whole number


def read_lines(where: str, path: str | Path, missing: str, spoilt: str) -> list[list[str]]:
    """All lines of a CSV file, split into fields; a byte order mark, which spreadsheets write, is dropped.

    Args:
        where: name of the file in messages.
        path: the file.
        missing: what to do where there is no such file, for the message.
        spoilt: what to do where the file is not CSV, for the message.

    Raises:
        UserError: the file does not exist or is not valid CSV in UTF-8.
    """
    if not Path(path).is_file():
        what = "is not a regular file" if Path(path).exists() else "does not exist"
        raise UserError(f"{where} {what}; {missing}")
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{where} is not valid CSV ({error}); {spoilt}") from None


def split_row(where: str, header: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """The fields of one line, by column.

    Raises:
        UserError: the line has more or fewer values than columns.
    """
    if len(fields) != len(header):
        raise UserError(
            f"{where}: {len(fields)} values instead of {len(header)}; give every column a value or leave it empty"
        )
    return dict(zip(header, fields, strict=True))


def read_number(where: str, name: str, text: str, largest: float = 100) -> float | None:
    """A number from 0 to ``largest``; None for an empty field.

    Raises:
        UserError: the text is not a number or is out of range.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}: {name} '{text}' is not a number") from None
    if not 0 <= value <= largest:  # also refuses nan
        raise UserError(f"{where}: {name} '{text}' is not between 0 and {largest:g}")
    return value


def read_whole(where: str, name: str, text: str) -> int:
    """A positive whole number.

    Raises:
        UserError: the text is not a positive whole number.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS) or int(text) < 1:
        raise UserError(f"{where}: {name} '{text:.50}' is not a positive whole number of at most {MOST_DIGITS} digits")
    return int(text)


def given_ratios(where: str, ratios: Mapping[str, float | None], original: bool) -> dict[str, float]:
    """The ratios of a row's mix, of all sources; empty where no ratio is given.

    Raises:
        UserError: some ratios are missing, all are zero, or an original has ratios.
    """
    given = {source: ratio for source, ratio in ratios.items() if ratio is not None}
    if len(given) not in (0, len(ratios)) or (given and not sum(given.values())):
        shown = ":".join("" if ratio is None else f"{ratio:g}" for ratio in ratios.values())
        count = {2: "both", 3: "all three"}.get(len(ratios), "all")
        raise UserError(f"{where}: ratios '{shown}' are not a mix; give {count}, not all of them zero, or none")
    if original and given:
        raise UserError(f"{where}: the original has no calibration mix; leave its ratios empty")
    return given


def check_mean(where: str, name: str, printed: float, of_what: str, values: Sequence[float]) -> None:
    """Refuse a printed mean that is not the mean of the printed values, within the rounding of one decimal.

    Raises:
        UserError: the mean does not hold; the message gives the right one.
    """
    mean = sum(values) / len(values)
    if abs(mean - printed) > ROUNDING:
        raise UserError(f"{where}: {name} {printed:g} is not the mean of {of_what}, {mean:.3f}; correct the row")
