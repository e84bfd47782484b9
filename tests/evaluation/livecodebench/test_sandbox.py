"""Programs that a model could write: which pass, which are stopped, and that none leaves anything behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ream.evaluation.livecodebench.cases import Case
from ream.evaluation.livecodebench.sandbox import Limits, Program
from ream.evaluation.livecodebench.scoring import verdict_on
from tests.tiny import ROOT

LIMITS = Limits(seconds=2, memory=1 << 30, output=1 << 20)
SUMS = [Case("1 2\n", "3\n"), Case("50000000000000000 1", "50000000000000001")]
SAME = "class Same:\n    def __eq__(self, other):\n        return True"
NUMBERS = [Case("[1, 2]\n3", "6"), Case("[]\n0", "0")]


@pytest.mark.parametrize(
    "source",
    [
        "a, b = map(int, input().split())\nprint(a + b)",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "from sys import stdin, stdout\nstdout.write(str(sum(map(int, stdin.readline().split()))))",
        "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer.read().split())))",
        "print(sum(int(word) for word in open(0).read().split()))",
        "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()",
        "print(sum(map(int, input().split())))\nexit()\nprint('more')",
        "import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))\nsys.exit(1)",
        "import io, sys\nsys.stdin = io.TextIOWrapper(sys.stdin.buffer)\n"
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint(sum(map(int, input().split())))",
        "import io, os\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n"
        "print(sum(map(int, input().split())))",
        "import threading\nthreading.stack_size(1 << 27)\ndef main():\n    print(sum(map(int, input().split())))\n"
        "thread = threading.Thread(target=main)\nthread.start()\nthread.join()",
        "print(Counter(a=sum(map(int, input().split())))['a'])",  # a name that the checker imports
        "def depth(n):\n    return 0 if n == 0 else 1 + depth(n - 1)\nn = sum(map(int, input().split()))\n"
        "print(n - 40000 + depth(40000))",
        "total = 0\nfor n in input().split():\n    total += int(n)\nprint(f'{total}.00')",
    ],
)
def test_a_right_program_passes(source):
    assert verdict_on(source, "", SUMS, LIMITS) == "passed"


@pytest.mark.parametrize(
    "source",
    [
        "class Solution:\n    def total(self, numbers: List[int], more: int):\n        return sum(numbers, more)",
        "def total(numbers, more):\n    print('debugging')\n    return sum(numbers, more)",
        "import numpy as np\ndef total(numbers, more):\n    return np.int64(sum(numbers, more))",
        "class Solution:\n    def total(self, numbers, more):\n        return sum(numbers, more)\n"
        "if __name__ == '__main__':\n    raise ValueError('a test of its own')",
    ],
)
def test_a_right_function_passes(source):
    assert verdict_on(source, "total", NUMBERS, LIMITS) == "passed"


@pytest.mark.parametrize(
    ("source", "function", "verdict"),
    [
        ("print(3)", "", "wrong answer"),  # right in the first case alone
        ("print(*input().split())", "", "wrong answer"),
        ("pass", "", "wrong answer"),
        ("", "", "no code"),
        ("print(3", "", "error"),
        ("print(1 / 0)", "", "error"),
        ("import no_such_module", "", "error"),
        ("import os\nos._exit(0)", "", "error"),
        ("import os\nos.kill(os.getpid(), 9)", "", "error"),
        ("class Solution:\n    def other(self):\n        return 1", "total", "error"),
        ("def total(numbers, more):\n    return {1}", "total", "error"),
        ("def total(numbers, more):\n    return 7", "total", "wrong answer"),
        (f"{SAME}\ndef total(*given):\n    return Same()", "total", "error"),
    ],
)
def test_another_program_fails(source, function, verdict):
    assert verdict_on(source, function, NUMBERS if function else SUMS, LIMITS) == verdict


def test_a_tuple_is_a_list_at_the_top_alone():
    # as the checker has it: it turns the result from a tuple into a list, and [(1, 2)] == [[1, 2]] is False in Python
    pair = "def pair(a):\n    return a[0], a[1]"
    assert verdict_on(pair, "pair", [Case("[1, 2]", "[1, 2]")], LIMITS) == "passed"
    inner = "def pair(a):\n    return [(a[0], a[1])]"
    assert verdict_on(inner, "pair", [Case("[1, 2]", "[[1, 2]]")], LIMITS) == "error"


def test_one_object_is_asked_all_cases_of_a_function_and_a_script_starts_anew():
    counting = (
        "class Solution:\n    calls = 0\n    def count(self, a):\n        self.calls += 1\n        return self.calls"
    )
    assert verdict_on(counting, "count", [Case("0", "1"), Case("0", "2")], LIMITS) == "passed"
    script = "calls = 0\ncalls += 1\nprint(calls)"
    assert verdict_on(script, "", [Case("0", "1"), Case("0", "1")], LIMITS) == "passed"


def test_random_numbers_and_hashes_are_the_same_each_time():
    source = "import random\nprint(random.random(), hash('a'), list({'a', 'b', 'c'}))"
    answers = set()
    for _ in range(2):
        with Program(source, "", LIMITS) as program:
            answers |= {program.answer(""), program.answer("")}
    assert len(answers) == 1


@pytest.mark.parametrize(
    "source", ["while True:\n    pass", "import time\ntime.sleep(60)", "import signal\nsignal.pause()"]
)
def test_a_program_without_end_is_cut(source):
    begin = time.monotonic()
    assert verdict_on(source, "", SUMS, Limits(seconds=0.5)) == "time limit"
    assert time.monotonic() - begin < 15


def test_each_case_has_its_own_time():
    source = "import time\ntime.sleep(0.6)\nprint(input())"
    cases = [Case(str(n), str(n)) for n in range(3)]
    assert verdict_on(source, "", cases, Limits(seconds=1.5)) == "passed"  # 1.8 s in all


def test_a_program_that_takes_too_much_memory_is_cut():
    hog = "x = bytearray({})\nprint(sum(map(int, input().split())))"
    assert verdict_on(hog.format(10**8), "", SUMS, LIMITS) == "passed"
    assert verdict_on(hog.format(2 * 10**9), "", SUMS, LIMITS) == "error"


def test_a_program_that_prints_too_much_is_cut():
    source = "for _ in range({}):\n    print('x' * 999)"
    with Program(source.format(1000), "", LIMITS) as program:
        trouble, answer = program.answer("")
    assert (trouble, len(answer)) == ("", 1_000_000)
    with Program(source.format(2000), "", LIMITS) as program:
        assert program.answer("") == ("error", "")


def alive(process):
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def gone(processes):
    """Whether all processes end within ten seconds."""
    end = time.monotonic() + 10
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, processes))


CHILD = "import os, time\nchild = os.fork()\nif child == 0:\n    time.sleep(600)\nprint(child)"
DAEMON = """import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, b"%d" % os.getpid())
        time.sleep(600)
    os._exit(0)
print(os.read(reading, 20).decode())"""


@pytest.mark.parametrize("source", [CHILD, DAEMON], ids=["child", "daemon"])
def test_a_process_left_behind_is_killed(source):
    with Program(source, "", LIMITS) as program:
        trouble, answer = program.answer("")
        assert trouble == ""
        assert alive(int(answer))
    assert not alive(int(answer))


def test_a_program_that_kills_its_supervisor_is_killed():
    source = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(0.1)\nprint(os.getpid(), os.getppid())"
    with Program(source, "", LIMITS) as program:
        trouble, answer = program.answer("")
        assert trouble == ""
        process, parent = map(int, answer.split())
        assert parent != program._process.pid  # an orphan
        assert alive(process)
    assert gone([process])


def test_nothing_outlives_who_asked(tmp_path):
    asks = f"""
import os, sys
from ream.evaluation.livecodebench.sandbox import Program
with Program({DAEMON!r} + "\\nimport os; print(os.getpid())") as program:
    print(*program.answer("")[1].split(), program._process.pid, flush=True)
    sys.stdin.read()
"""
    command, place = [sys.executable, "-c", asks], os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        started = [int(word) for word in process.stdout.readline().split()]
        assert len(started) == 3
        assert all(map(alive, started))
        process.send_signal(signal.SIGKILL)
    assert gone(started)
    assert os.listdir(tmp_path) == []


def test_a_program_has_a_folder_of_its_own_and_no_environment_of_ours(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    source = "import os, sys\nopen('file', 'w').write('x')\nprint(os.getcwd(), *os.listdir())\nprint(*os.environ)"
    with Program(source, "", LIMITS) as program:
        trouble, answer = program.answer("")
        assert trouble == ""
        (folder, *files), names = (line.split() for line in answer.splitlines())
        assert files == ["file"]
        assert Path(folder).is_dir()
        assert "HF_TOKEN" not in names
        assert {"HOME", "PATH", "PYTHONHASHSEED"} <= set(names) <= {
            "HOME", "PATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "LANG", "LC_CTYPE",
            "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
        }  # fmt: skip
    assert not Path(folder).parent.exists()


def test_no_descriptor_is_left_open():
    before = len(os.listdir("/proc/self/fd"))
    for source in ("print(input())", "while True: pass", "1 / 0"):
        verdict_on(source, "", [Case("1", "1")], Limits(seconds=0.3))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_program_has_no_network():
    leave_network = "import ctypes, sys; sys.exit(-ctypes.CDLL(None).unshare(0x50000000))"
    if subprocess.run([sys.executable, "-c", leave_network], check=False).returncode != 0:
        pytest.skip("the kernel lets no user make a network namespace here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # for us it is there
        source = (
            "import errno, socket\ntry:\n"
            f"    socket.create_connection(('127.0.0.1', {port}), 1)\n    print('connected')\n"
            "except OSError as error:\n    print(errno.errorcode[error.errno])"
        )
        assert verdict_on(source, "", [Case("", "ENETUNREACH")], LIMITS) == "passed"
