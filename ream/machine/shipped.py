"""Where the files lie that come with ream beside its code.

In the repository ``shipped`` has links to dvc.yaml, params/, data/ and .dvc/plots; a wheel has copies.
"""

from pathlib import Path


def package() -> Path:
    """The folder of the package, as it lies on the disk."""
    from importlib.resources import files

    return Path(str(files("ream")))


def default_settings() -> Path:
    """The params file that ships: of the demo, with all methods and the paper's sources and suites."""
    return package() / "params" / "default.yaml"


def presets() -> dict[str, Path]:
    """Name to params file of every preset."""
    return {path.stem: path for path in sorted((package() / "shipped" / "presets").glob("*.yaml"))}
