"""What held-out code repeats of the other splits, so that no item asks for what was seen."""

from ream.calibration import builtin

SHINGLE_LINES = 4


def shingles(text: str) -> set[str]:
    """All runs of SHINGLE_LINES lines of code, blank lines and indentation apart."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return {"\n".join(lines[start : start + SHINGLE_LINES]) for start in range(len(lines) - SHINGLE_LINES + 1)}


def seen_shingles() -> set[str]:
    """The shingles of the train and calibration splits of ``code``: files repeat under 2% of each other's lines."""
    splits = (builtin.documents("code", split) for split in ("train", "calibration"))
    return {shingle for documents in splits for document in documents for shingle in shingles(document.text)}
