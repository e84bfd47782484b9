"""Runs one program on its test cases. The supervisor starts this file by its path, so it imports nothing of ream.

The namespace and the wrapping are those of LiveCodeBench's checker (lcb_runner/evaluation/testing_util.py). Programs
rely on names that they don't import, and a loop over local variables is faster, which decides whether it ends in time.
"""

import ast
import json
import os
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# The checker imports all names of these modules, then the modules themselves except the last two.
MODULES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
    "functools", "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
DEPTH = DIGITS = 50000  # limits of the recursion and of the digits of an integer in text
MAIN = "main"
READY, DONE = b"r", b"d"


def namespace(name: str) -> dict[str, Any]:
    """The names of a fresh module that a program finds without importing them."""
    names: dict[str, Any] = {"__name__": name}
    lines = [f"from {module} import *" for module in MODULES] + [f"import {module}" for module in MODULES[:-2]]
    exec("\n".join(lines), names)
    sys.setrecursionlimit(DEPTH)
    sys.set_int_max_str_digits(DIGITS)
    return names


def script(source: str) -> Callable[[], object]:
    """A program that reads and prints, as one function: everything but its imports becomes the function's body."""
    tree = ast.parse(source)
    imports = [part for part in tree.body if isinstance(part, ast.Import | ast.ImportFrom)]
    rest = [part for part in tree.body if not isinstance(part, ast.Import | ast.ImportFrom)]
    main = ast.parse(f"def {MAIN}(): pass").body[0]
    assert isinstance(main, ast.FunctionDef)
    main.body = rest or main.body
    names = namespace("__main__")
    exec(compile(ast.Module([*imports, main], []), "program", "exec"), names)
    function: Callable[[], object] = names[MAIN]
    return function


def method(source: str, function: str) -> Callable[..., object]:
    """A method of the program's class Solution, bound to one instance for all cases; or the program's own function."""
    names = namespace("solution")
    exec(compile(source, "program", "exec"), names)
    solve: Callable[..., object] = (
        getattr(names["Solution"](), function) if "class Solution" in source else names[function]
    )
    return solve


def plain(value: Any, top: bool = True) -> Any:
    """A returned value as a JSON value; as in the checker, a tuple becomes a list only if it is the whole value.

    Raises:
        TypeError: no JSON value equals it.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list) or (top and isinstance(value, tuple)):
        return [plain(part, False) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(part, False) for key, part in value.items()}
    if getattr(value, "shape", None) == ():  # a number of numpy
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no equal in JSON")


def standard_streams() -> tuple[Any, Any]:
    """Standard input and output that the program cannot close, as ``exit()`` would close the input."""
    streams = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    for stream in streams:
        stream.close = lambda: None  # type: ignore[method-assign]
    return streams


def wait_for_threads() -> None:
    """Wait as the interpreter does before it ends: for the work given to executors, threads and child processes.

    Threads and processes that are daemons are not waited for. Modules that the program has not imported are left alone.
    """
    if executors := sys.modules.get("concurrent.futures.thread"):
        executors._python_exit()  # ends the workers that wait for work; what the interpreter calls, too
        executors._shutdown = False  # type: ignore[attr-defined]  # the next test case may use executors
    if threading := sys.modules.get("threading"):
        while others := [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]:
            others[0].join()
    if multiprocessing := sys.modules.get("multiprocessing"):
        for process in multiprocessing.active_children():
            if not process.daemon:
                process.join()


def serve(source: str, function: str, go: int, report: int) -> None:
    """Answer test cases: for each byte read from ``go``, read the input from 0, write the answer to 1, report DONE.

    An exception of the program ends this process, as does a file that grows too large; the other side notices.

    Args:
        source: source of the program.
        function: name of the function to call with the input's lines of JSON; empty for a program that reads and
            prints.
        go: file descriptor of the pipe that asks for answers.
        report: file descriptor of the pipe for READY and DONE.
    """
    given, answers = os.dup(0), os.dup(1)
    if function:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdin, sys.stdout = reading, printing = standard_streams()
    solve = method(source, function) if function else script(source)
    os.write(report, READY)
    while os.read(go, 1):
        os.dup2(given, 0)  # open(0).read() closes it
        # This drops the streams that the program may have put in their place, which may close ours.
        sys.stdin, sys.stdout = reading, printing
        if reading.closed or printing.closed:
            sys.stdin, sys.stdout = reading, printing = standard_streams()
        reading.seek(0)
        random.seed(0)
        if function:
            result = plain(solve(*(json.loads(line) for line in reading.read().split("\n"))))
            with open(answers, "w", closefd=False) as file:
                json.dump(result, file)
        else:
            os.dup2(answers, 1)
            with suppress(SystemExit):  # the way to end a program early
                solve()
            wait_for_threads()
            sys.stdout.flush()
            printing.flush()
        os.write(report, DONE)


if __name__ == "__main__":
    serve(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
