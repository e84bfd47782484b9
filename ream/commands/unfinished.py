"""Finished tasks of a killed `ream evaluate`, after which the same command goes on."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ream.models.inspection.manifest import Manifest
    from ream.params import Params


def identity_of(params: "Params", manifest: "Manifest", recipes: "Sequence[Path | None]") -> str:
    """SHA-256 over all that the scores depend on.

    That is: the model's weights and other files, the recipes, the settings, the local files of tasks, and what the code
    that can be executed means, with the versions of the libraries (`ream.workspace.codes`).

    Args:
        params: all settings.
        manifest: of the model.
        recipes: the compressions of the model that are scored; None stands for the model itself.
    """
    from ream.evaluation.bench import scoring_settings
    from ream.evaluation.task_files import digest_of_tasks
    from ream.machine.files import file_digest
    from ream.models.inspection.manifest import locate
    from ream.workspace.codes import fingerprint_of, identity

    model, commit = locate(params.model.path)
    # of a large folder the digest has the headers only, and never the tokenizer
    files = {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in model.iterdir() if path.is_file()}
    described = {
        "model": [manifest.digest, commit, files if commit is None else {}, params.model.model_dump()],
        "recipes": [None if recipe is None else file_digest(recipe) for recipe in recipes],
        "settings": [scoring_settings(params), params.merge.model_dump()],
        "tasks": digest_of_tasks(Path(params.evaluation.include)),
        "text": _text(params),
        "code": identity(fingerprint_of("items", "evaluate")),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _text(params: "Params") -> dict[str, Any]:
    """The own texts on which the suite measures the loss: their settings, and the SHA-256 of every local file."""
    from ream.calibration.local_files import matched
    from ream.machine.files import file_digest
    from ream.params import FilesSource, TokensSource

    texts: dict[str, Any] = {}
    for name in params.suites[params.evaluation.suite].loss:
        source = params.loss_source(name)
        paths = matched(source.paths) if isinstance(source, FilesSource) else []
        paths += [Path(source.path)] if isinstance(source, TokensSource) else []
        texts[name] = [source.model_dump(), {str(path): file_digest(path) for path in paths}]
    return texts


@contextmanager
def unfinished(identity: str) -> Iterator[Path]:
    """The folder of an evaluation's finished tasks, held for this process; removed when the block succeeds.

    Where the block fails, the folder stays for the next run if anything had finished.

    Args:
        identity: see `identity_of`.

    Raises:
        UserError: the same evaluation is running, or the folder cannot be made.
    """
    from ream.machine.files import locked
    from ream.machine.scratch import without_workspace

    folder = without_workspace().parent / "evaluations" / identity[:32]
    with locked(folder):
        try:
            yield folder
        except BaseException:
            if all(path.name == "lock" for path in folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
