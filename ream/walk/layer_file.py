"""The file of one layer, in a walk's state and in a source's statistics; light to import."""

from pathlib import Path


def layer_file(folder: Path, index: int) -> Path:
    """The file of a layer in the folder of a walk's state or of a source's statistics."""
    return folder / f"layer-{index:03d}.safetensors"
