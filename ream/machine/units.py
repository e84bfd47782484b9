"""Sizes as people read them."""


def bytes_shown(size: float) -> str:
    """A number of bytes in GB (10⁹), below a tenth of one in MB, below one of those in kB.

    A tiny model's sizes are then told apart, too, where all of them would be 0.00 GB.
    """
    if size >= 1e8:
        return f"{size / 1e9:,.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
