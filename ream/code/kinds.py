"""Where each kind of stage starts: its own module, and what `ream stage` executes around it."""

# `ream stage` imports the stage's module by its name, the one dynamic import of ream.
AROUND = ("ream.commands.stage:run_stage",)
# What runs by name from files outside of the package: data/tasks/*.yaml name the functions that score the demo tasks.
NAMED_OUTSIDE = {"evaluate": ("ream.evaluation.demo_scoring",)}


def roots_of(stage: str) -> tuple[str, ...]:
    """The roots of a stage for `ream.code.code.Code.fingerprint`."""
    return (f"ream.stages.{stage}:run", *AROUND, *NAMED_OUTSIDE.get(stage, ()))
