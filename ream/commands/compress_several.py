"""`ream compress` with several methods or sizes: one original, one text, a compressed model for each pair of them.

The one-shot methods share one walk of the original, which measures what any of them needs, and each sequential method
walks for each size. A model is written as soon as its recipe is complete, to OUT/METHOD-EXPERTS.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.commands.compressing import opened, stage_options, write_model
from ream.commands.ending import GOES_ON
from ream.commands.request import Cell, Request, requested, sources_of
from ream.errors import UserError
from ream.machine.units import bytes_shown
from ream.workspace.layout import Workspace

if TYPE_CHECKING:
    from ream.params import Params
    from ream.walk.ranks import Ranks
    from ream.workspace.original import Original


def compress_several(
    request: Request,
    methods: Sequence[str],
    sizes: Sequence[int],
    params_path: Path,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    ranks: "Ranks | None" = None,
) -> None:
    """Compress a model by several methods and to several sizes; the same request continues an interrupted run.

    Args:
        request: what to do; its ``out`` is the folder of the outputs, and its method and number of experts do not
            count.
        methods: of the params file.
        sizes: K, one after the other.
        params_path: the params file.
        say: prints a line about each step.
        warn: prints a line about what may be unwelcome in an output.
        ranks: of torchrun, with which this is refused.

    Raises:
        UserError: there are several processes, the output is not empty, an interrupted run had other settings, another
            run uses the folder, or see the stages.
    """
    from ream.commands.resume import check_settings, remove
    from ream.machine.files import locked
    from ream.recipe.output import check_output

    if ranks is not None:
        raise UserError(
            "several methods or sizes run in one process, not under torchrun; give one method and one size, or start "
            "without torchrun"
        )
    params, mix = requested(request, params_path, methods, sizes)
    cells = [Cell(mix, method, experts) for method in methods for experts in sizes]
    workspace = Workspace(request.out.with_name(f".{request.out.name}.ream"))
    if not workspace.root.exists():
        check_output(request.out)
    with locked(workspace.root):
        settings = settings_of_several(params, mix, methods, sizes)
        check_settings(workspace, settings)
        try:
            _Several(params, request, workspace, cells, settings, say, warn).run()
        except BaseException as error:
            if workspace.has_finished_layers():
                error.add_note(GOES_ON)
            else:
                remove(workspace)
            raise
        remove(workspace)


def settings_of_several(params: "Params", mix: str, methods: Sequence[str], sizes: Sequence[int]) -> dict[str, Any]:
    """Everything that the outputs may depend on, as plain values (`ream.commands.resume.settings_of`)."""
    from ream.commands.resume import code_of, settings_of

    return settings_of(params, mix, methods[0], sizes[0]) | {
        "experts": list(sizes),
        "method": list(methods),
        "methods": {method: params.method(method).model_dump() for method in methods},
        "code": code_of(params, *methods),
    }


class _Several:
    """The steps of one request."""

    def __init__(
        self,
        params: "Params",
        request: Request,
        workspace: Workspace,
        cells: Sequence[Cell],
        settings: dict[str, Any],
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.params, self.request, self.workspace, self.settings = params, request, workspace, settings
        self.say, self._warn, self.mix, self.code = say, warn, cells[0].mix, settings["code"]
        self.cells, self._warned = cells, set[str]()

    def warn(self, line: str) -> None:
        """Print a line about what may be unwelcome, once for all models."""
        if line not in self._warned:
            self._warned.add(line)
            self._warn(line)

    def out(self, cell: Cell) -> Path:
        """Where the model of a cell is written."""
        return self.request.out / f"{cell.method}-{cell.experts}"

    def run(self) -> None:
        """Decide and write all models that are not written yet.

        Raises:
            UserError: see the stages; an output holds something else.
        """
        from ream.commands.drawing import draw_text
        from ream.commands.resume import begin, is_finished
        from ream.machine.files import sweep
        from ream.recipe.output import check_output
        from ream.recipe.output_companions import remarks

        params, workspace = self.params, self.workspace
        due = []
        for cell in self.cells:
            if is_finished(self.out(cell), workspace, self.settings, params, *cell):
                self.say(f"{self.out(cell)}: already finished")
            else:
                check_output(self.out(cell))
                due.append(cell)
        if not due:
            return
        sweep(workspace.root)
        original = opened(params, workspace, stage_options(due[0], self.code), self.request.ignore, self.say)
        self._check_room(original, due)
        for remark in remarks(
            original.checkpoint, params.model.trust_remote_code, "--set model.trust_remote_code=true"
        ):
            self.warn(remark)
        sequential = [cell for cell in due if params.method(cell.method).sequential]
        draw_text(params, workspace, self.mix, (sequential or due)[0].method, self.say)
        begin(workspace, self.settings)
        one_shot = [cell for cell in due if cell not in sequential]
        if one_shot:
            self._measure()
        for cell in one_shot:
            self._decide(cell)
            self._write(original, cell)
        for cell in sequential:
            self._walk(cell)
            self._write(original, cell)

    def _check_room(self, original: "Original", cells: Sequence[Cell]) -> None:
        """Say what each model takes; refuse a run for which there is no room, all outputs together.

        Raises:
            UserError: see `check_fits`, or the outputs do not fit on the disk.
        """
        from ream.commands.estimate import check_run
        from ream.machine.available import free_disk, size_on_disk
        from ream.workspace.needs import needed

        measured, walking, written = needed(self.params), 0, 0
        for cell in cells:
            line, needs = check_run(
                self.params, original, *cell, self.request.out, self.workspace.root, self.warn, measured
            )
            self.say(f"{cell.method}-{cell.experts}, {line}")
            walking, written = max(walking, needs.needs.walk_disk), written + needs.bytes_after
        free = free_disk(self.request.out) + size_on_disk(self.workspace.root)
        if walking + written > free:
            raise UserError(
                f"{self.request.out.absolute()}: about {bytes_shown(walking + written)} of disk is needed for all "
                f"{len(cells)} models and while they are made, but {bytes_shown(free)} is free; choose another "
                "folder, free space, or give fewer methods or sizes"
            )

    def _measure(self) -> None:
        """Walk the original once for all one-shot methods, and mix its statistics."""
        from ream.compress.rarely_routed import without_warning
        from ream.stages import saliency, statistics
        from ream.workspace.needs import needed, write_needs
        from ream.workspace.shares import write_shares

        sources = sources_of(self.params, self.mix)
        write_needs(self.workspace, needed(self.params))
        write_shares(self.workspace, dict.fromkeys(sources))  # of this mix alone, and no more was drawn
        options = stage_options(Cell(self.mix, "", 0), self.code)
        for line in statistics.run_sources(self.params, self.workspace, sources, options):
            self.say(line)
        self.say(without_warning(saliency.run(self.params, self.workspace, options)))

    def _decide(self, cell: Cell) -> None:
        """The recipe of a one-shot method, from the statistics."""
        from ream.stages import alignment, grouping

        options = stage_options(cell, self.code)
        for stage in (grouping, alignment):
            self.say(stage.run(self.params, self.workspace, options))

    def _walk(self, cell: Cell) -> None:
        """The recipe of a sequential method, by a walk of its own."""
        from ream.compress.rarely_routed import without_warning
        from ream.stages import sequential

        self.say(without_warning(sequential.run(self.params, self.workspace, stage_options(cell, self.code))))

    def _write(self, original: "Original", cell: Cell) -> None:
        write_model(self.params, original, self.workspace.recipe(*cell), self.out(cell), self.say, self.warn)
