"""The code and libraries that DVC has recorded, compared with those that are there now, before the graph is run."""

import os
import subprocess
import sys
from pathlib import Path

from flows.checked_params import check_params
from flows.child import with_programs
from ream.commands.output import print_error
from ream.errors import UserError
from ream.machine.files import read_json
from ream.workspace.codes import fingerprints
from ream.workspace.layout import Workspace


def compare_code(root: Path) -> bool:
    """Check params.yaml, and run the stage code if it has recorded other code or libraries than there are now.

    The check comes before any command is formed with a name in that file. DVC does not see other versions of libraries,
    and takes former fingerprints from its run cache unless it is forced.

    Args:
        root: the repository.

    Returns:
        Whether the stage ran.

    Raises:
        UserError: params.yaml is not valid, or the stage code fails.
    """
    check_params(root)
    workspace = Workspace(root / "artifacts")
    recorded = {path.stem: read_json(path) for path in workspace.codes.glob("*.json")}
    if not recorded or not workspace.names.exists() or recorded == fingerprints():
        return False
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--force", "--single-item", "code"]
    environment = with_programs(dict(os.environ))
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.lower().startswith("error:")]
        raise UserError(f"stage code: {(errors or ['it failed'])[0].partition(':')[2].strip()}; run `dvc repro code`")
    return True


if __name__ == "__main__":
    try:
        compare_code(Path.cwd())
    except UserError as error:
        print_error(str(error))
        sys.exit(2)
