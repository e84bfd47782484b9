"""Stage names: refuses names that a shell could take for something else, before any command has one of them.

DVC puts the names of local files, sources, mixes, methods and exports into the commands of other stages. All of them
need the stage code, and that needs this one.
"""

from ream.machine.files import write_json
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write that the names are in order; the content is always the same, so that a new name makes nothing run again.

    The settings were checked when they were read (`ream.params.agreed`): a name has letters, digits, '.', '_' and '-',
    and those of the section run exist.
    """
    write_json(workspace.names, {"checked": True})
    run = params.run
    return (
        f"{len(params.local)} local paths, {len(run.sources)} sources, {len(run.mixes)} mixes: the names are in order"
    )
