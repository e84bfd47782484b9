"""The command line: the table of commands, and how it ends. Each command imports heavy libraries when it runs."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from ream import __version__
from ream.commands.apply import apply
from ream.commands.compare import compare
from ream.commands.compress import compress
from ream.commands.ending import INTERRUPTED, WRONG, InterruptionError, ending
from ream.commands.estimate import estimate
from ream.commands.evaluate import evaluate
from ream.commands.examples import ending as help_ending
from ream.commands.import_tokens import import_tokens
from ream.commands.init import init
from ream.commands.inspect import inspect
from ream.commands.options import replacement
from ream.commands.output import print_error
from ream.commands.params import params
from ream.commands.search import search
from ream.commands.stage import stage
from ream.commands.verify import verify
from ream.errors import UserError
from ream.machine.sharing import share_cores

if TYPE_CHECKING:
    from ream.walk.ranks import Ranks


class Commands(TyperGroup):
    """The group of commands; an interruption leaves it with its notes, of which typer would keep the exit code only."""

    def invoke(self, context: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            interrupted = InterruptionError()
            for note in getattr(error, "__notes__", []):
                interrupted.add_note(note)
            raise interrupted from None


COMMANDS = (
    inspect, estimate, compress, apply, verify, evaluate, compare, search, import_tokens, init, params, stage,
)  # fmt: skip
DISTRIBUTED = ("compress", "stage")  # commands that the ranks of a torchrun can run together

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's tables would take longer than everything else that --help does
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command(epilog=help_ending(command.__name__))(command)


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        typer.echo(f"ream {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Shrink Mixture-of-Experts language models by merging their experts, without training."""
    if context.obj is not None and context.invoked_subcommand not in DISTRIBUTED:
        raise UserError(f"ream {context.invoked_subcommand} cannot run distributed; run it without torchrun")


def main(application: typer.Typer = app) -> None:
    """Run a command line, ream's or another one's, and end the process.

    A user's error, in the arguments or in what they name, is one line and exit code 2, and so are a failed file and
    too little memory; an interruption is one line and exit code 130 (`ending`). Of the ranks of a torchrun, the first
    prints the line and all end.
    """
    ranks = None
    try:
        share_cores()
        ranks = joined()
        code = application(standalone_mode=False, obj=ranks)  # 0, or the code of a typer.Exit
        if ranks is not None:
            ranks.leave()
        sys.exit(code)
    except UserError as error:
        line, code = str(error), WRONG
    except TyperException as error:
        if len(sys.argv) == 1:  # without any arguments, the message is the help
            print(error.format_message())
            sys.exit(error.exit_code)
        line, code = usage_error(error), error.exit_code
    except typer.Abort:
        sys.exit(1)
    except (InterruptionError, KeyboardInterrupt, MemoryError, RecursionError, OSError, RuntimeError) as error:
        ended = ending(error)
        if ended is None:
            raise
        line, code = ended
    if ranks is None:
        print_error(line)
    elif code != INTERRUPTED:
        ranks.tell(line)
    elif ranks.first:  # every rank is interrupted; none waits for the others
        print_error(line)
    sys.exit(code)


def joined() -> "Ranks | None":
    """The ranks of a torchrun; None in a single process."""
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        from ream.walk.ranks import Ranks

        return Ranks()
    return None


def usage_error(error: TyperException) -> str:
    """One line about a mistyped command or option, or about an option that a setting has replaced."""
    # typer keeps the class of unknown options private, and gives it these attributes
    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if context is not None and option is not None:
        line = replacement(context.info_name, option)
        if line is not None:
            return line
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message} (see --help)"


if __name__ == "__main__":
    main()
