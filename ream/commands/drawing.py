"""The calibration text of `ream compress`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ream.commands.request import sources_of
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.params import Params


def draw_text(params: "Params", workspace: Workspace, mix: str, method: str, say: Callable[[str], None]) -> None:
    """Draw the calibration sequences of every source of the mix: its share of them.

    The graph, which serves many mixes, draws more of each; a mix has the first of them, so the sequences are the same.

    Args:
        params: all settings.
        workspace: of the command.
        mix: name of the mix.
        method: name of the method.
        say: prints a line about each source.

    Raises:
        UserError: see the stages calibration and mixture.
    """
    from ream.calibration.mixing import largest_remainder
    from ream.params import HubSource
    from ream.stages import calibration, mixture

    sequential = params.method(method).sequential
    shares = largest_remainder(params.mix(mix), params.calibration.sequences)
    for source in sources_of(params, mix):
        resumed = workspace.has_finished_layers() and workspace.calibration(source).exists()
        if resumed and isinstance(params.sources[source], HubSource):
            say(f"{source}: the interrupted run's sequences are used again")  # the hub may have changed, or be away
        else:
            own = params.calibration.model_copy(update={"sequences": max(1, shares[source])})
            say(calibration.run(params.model_copy(update={"calibration": own}), workspace, StageOptions(source=source)))
    if sequential:
        say(mixture.run(params, workspace, StageOptions(mix=mix)))
