"""params.yaml is checked before the flow, or `make repro`, lets DVC put a name from it into a command."""

from pathlib import Path

from ream.params.agreed import agreed_params

COMMAND = "ream stage"


def check_params(root: Path) -> None:
    """Refuse a params.yaml that is not valid; a graph without a stage of ream may have any.

    Args:
        root: the repository.

    Raises:
        UserError: see `ream.params.agreed.agreed_params`.
    """
    if COMMAND in (root / "dvc.yaml").read_text(encoding="utf-8"):
        agreed_params(root / "params.yaml")
