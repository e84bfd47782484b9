"""DVC's part of every stage, before its command and after it, for one stage at a time.

`dvc repro --single-item STAGE` judges a stage, runs its command and saves the results. Several such processes at once
meet each other's locks, and DVC then gives up. So the flow does the first and the last part itself, through DVC's
Python API and in one thread; only commands run side by side. A visit takes a twentieth of a second, because the
repository stays open and dvc.yaml and dvc.lock are parsed only when someone else has changed them.
"""

import concurrent.futures
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flows.child import Log, StageError
from flows.lock_file import write_entry
from flows.waiting import STOPPED, forget_ended, locked_paths, locked_repo, until_free
from flows.work import Work

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

DEFINITIONS = ("dvc.yaml", "params.yaml", "dvc.lock")
Result = TypeVar("Result")


class Desk:
    """Begins stages and commits them, for the length of a flow run.

    While a stage's command runs, DVC's lock on the repository is free, and its list of locked paths names the flow and
    the stage. A foreign `dvc repro` of the same paths is therefore refused.
    """

    def __init__(self, root: Path, log: Log) -> None:
        """Nothing is opened before the first stage begins.

        Args:
            root: the repository; also this process's working directory, because DVC resolves some paths against it.
            log: told which process holds the repository while the desk waits for it.
        """
        self._root, self._log = root, log
        self._stopped = threading.Event()
        # One thread, because DVC's connections to its databases belong to threads.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._opened: Repo | None = None
        self._visited = False
        self._loaded: dict[str, PipelineStage] = {}  # not begun since they were loaded
        self._loaded_from: list[Any] = []
        self._begun: dict[str, tuple[PipelineStage, ExitStack]] = {}

    def begin(self, name: str, log: Log) -> Work | None:
        """Do what `dvc repro --single-item` does before a stage's command.

        That is: remove the outputs, except those that persist, and take them from the run cache where it has them.
        Waits for foreign processes that work on the same paths.

        Args:
            name: the stage.
            log: of the stage.

        Returns:
            The work that is left, after which `commit` is due if it has commands; None if the stage is unchanged.

        Raises:
            StageError: DVC refuses the stage, for example because a dependency is missing; or the flow is being
                stopped.
        """
        return self._visit(name, self._begin, log)

    def changed(self, name: str, log: Log) -> bool:
        """Whether DVC would run a stage now; the arguments and errors are those of `begin`."""
        return self._visit(name, lambda stage_name: bool(self._load(stage_name).changed()), log)

    def commit(self, name: str, log: Log) -> None:
        """Save what a stage's command has made: in DVC's cache, its run cache and dvc.lock.

        The arguments are those of `begin`.

        Raises:
            StageError: DVC refuses, for example because an output is missing; or the flow is being stopped.
        """
        self._visit(name, self._commit, log)

    def has_begun(self, name: str) -> bool:
        """Whether a stage's command may be running: it has begun and is neither committed nor dropped."""
        return name in self._begun

    def drop(self, name: str) -> None:
        """Forget a stage whose command has failed, and free its paths."""
        with suppress(RuntimeError):  # closed, which has freed them
            self._thread.submit(self._free, name).result()

    def close(self) -> None:
        """End after the visit that is going on; free the paths of all stages."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _visit(self, name: str, job: Callable[[str], Result], log: Log) -> Result:
        """The result of a job on a stage, done in the desk's thread as soon as the stage's paths are free."""

        def attempt() -> Result:
            try:
                return self._thread.submit(self._locked, name, job).result()
            except RuntimeError:  # the thread takes no more
                raise StageError(STOPPED, again=False) from None

        return until_free(attempt, self._root, log, self._stopped)

    # What follows runs in the desk's thread.

    def _locked(self, name: str, job: Callable[[str], Result]) -> Result:
        """The result of a job, under DVC's lock on the repository."""
        from dvc.exceptions import DvcException
        from dvc.lock import LockError

        if self._stopped.is_set():
            raise StageError(STOPPED, again=False)
        try:
            with locked_repo(self._repo, self._log, self._stopped), self._repo.scm_context(quiet=True):
                if not self._visited:
                    forget_ended(self._repo)
                    self._visited = True
                return job(name)
        except LockError:
            raise
        except (DvcException, OSError) as error:
            reason = " ".join(f"{error} {error.__cause__ or ''}".split())
            raise StageError(f"stage {name}: {reason}", again=False) from error

    @property
    def _repo(self) -> "Repo":
        """The repository, opened once."""
        from flows.graph import open_repo

        if self._opened is None:
            self._opened = open_repo(self._root)
        return self._opened

    def _begin(self, name: str) -> Work | None:
        """See `begin`. The steps are those of `Stage.reproduce`, `Stage.run` and `dvc.stage.run.run_stage`."""
        from dvc.stage.cache import RunCacheNotFoundError

        stage = self._load(name)
        work = Work(name, str(self._root), str(stage.wdir))
        with locked_paths(stage, " ".join(sys.argv)):  # the name under which DVC's functions lock them again
            if not stage.changed():
                return None
            del self._loaded[name]  # from here on it is not what dvc.lock says
            if stage.frozen or not stage.cmd:
                stage.run()
                self._record(stage)
                return work
            stage.remove_outs(ignore_remove=False, force=False)
            try:
                self._repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                stage.save_deps()
            else:
                self._save(stage)
                return work
        paths = ExitStack()
        paths.enter_context(locked_paths(stage, f"python -m flows: stage {name}"))
        self._begun[name] = stage, paths
        commands = stage.cmd if isinstance(stage.cmd, list) else stage.cmd.splitlines()
        outputs = [out.fs_path for out in stage.outs if not out.persist and out.protocol == "local"]
        return Work(name, work.root, work.folder, tuple(commands), tuple(outputs))

    def _commit(self, name: str) -> None:
        """See `commit`."""
        from dvc.lock import LockError

        stage, paths = self._begun[name]
        try:
            with suppress(AssertionError):  # somebody has removed the list of locked paths
                paths.close()
            with locked_paths(stage, " ".join(sys.argv)):
                self._save(stage)
        except LockError:
            raise
        except BaseException:
            del self._begun[name]
            raise
        del self._begun[name]

    def _save(self, stage: "PipelineStage") -> None:
        """The last part of `Stage.run`, after the command, and what `dvc repro` then writes into dvc.lock."""
        in_git = any(not (out.use_cache or out.is_metric or out.is_plot) for out in stage.outs)
        stage.save(run_cache=not in_git)
        stage.commit()
        self._record(stage)

    def _record(self, stage: "PipelineStage") -> None:
        """Write a stage's entry of dvc.lock, as `Stage.dump` does."""
        from dvc.stage.serialize import to_lockfile

        before = self._signature()
        write_entry(self._root / "dvc.lock", stage.name, to_lockfile(stage)[stage.name])
        self._repo.scm_context.track_file("dvc.lock")  # for core.autostage
        if before == self._loaded_from:  # the entries of other stages are as they were loaded
            self._loaded_from = self._signature()

    def _load(self, name: str) -> "PipelineStage":
        """A stage as dvc.yaml and dvc.lock have it now."""
        signature = self._signature()
        if name not in self._loaded or signature != self._loaded_from:
            stages: Any = self._repo.stage.load_all(str(self._root / "dvc.yaml"))
            self._loaded, self._loaded_from = {stage.name: stage for stage in stages}, signature
        if name not in self._loaded:
            raise StageError(f"stage {name}: dvc.yaml does not have it any more", again=False)
        return self._loaded[name]

    def _signature(self) -> list[Any]:
        """Changes whenever a file that defines stages does."""
        paths = [self._root / name for name in DEFINITIONS]
        stats = [path.stat() if path.exists() else None for path in paths]
        return [stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]

    def _free(self, name: str) -> None:
        """See `drop`."""
        from dvc.lock import LockError

        _, paths = self._begun.pop(name, (None, ExitStack()))
        with suppress(AssertionError, LockError):  # DVC frees the paths of a process that has ended
            paths.close()

    def _close(self) -> None:
        """Free the paths of all stages and close the repository."""
        for name in list(self._begun):
            self._free(name)
        if self._opened is not None:
            self._opened.close()
