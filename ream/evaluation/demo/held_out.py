"""Code that the held-out split shares with the other splits, so that no item asks for a line seen in training."""

from ream.calibration import builtin

SHINGLE_LINES = 4


def shingles(text: str) -> set[str]:
    """All runs of SHINGLE_LINES lines of the code, without blank lines and indentation."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return {"\n".join(lines[start : start + SHINGLE_LINES]) for start in range(len(lines) - SHINGLE_LINES + 1)}


def seen_shingles() -> set[str]:
    """The shingles of the train and calibration splits of ``code``; files share less than 2% of their lines."""
    splits = (builtin.documents("code", split) for split in ("train", "calibration"))
    return {shingle for documents in splits for document in documents for shingle in shingles(document.text)}
