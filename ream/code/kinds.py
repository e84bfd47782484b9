"""Where each kind of stage starts: its own module, and what `ream stage` executes around it."""

# `ream stage` imports the stage's module by its name, the one dynamic import of ream, and gives it the workspace and,
# under torchrun, the ranks. Their methods run without being named, so that these classes are roots, too.
AROUND = ("ream.commands.stage:run_stage", "ream.workspace.layout:Workspace")
RANKS = "ream.walk.ranks:Ranks"
FURTHER = {
    "statistics": (RANKS,),
    "sequential": (RANKS,),
    # data/tasks/*.yaml, outside of the package, name the functions that score the demo tasks.
    "evaluate": ("ream.evaluation.demo_scoring",),
}


def roots_of(stage: str) -> tuple[str, ...]:
    """The roots of a stage for `ream.code.code.Code.fingerprint`."""
    return (f"ream.stages.{stage}:run", *AROUND, *FURTHER.get(stage, ()))
