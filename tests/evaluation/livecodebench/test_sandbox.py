"""Programs that a model could write: which pass, which are stopped, and that none leaves anything behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ream.evaluation.livecodebench import sandbox
from ream.evaluation.livecodebench.cases import Case
from ream.evaluation.livecodebench.sandbox import Limits, Program
from ream.evaluation.livecodebench.scoring import verdict_on
from ream.evaluation.livecodebench.supervisor import tasks_below
from tests.subsets import some_slow
from tests.tiny import ROOT

LIMITS = Limits(seconds=2, memory=1 << 30, output=1 << 20)
SUMS = [Case("1 2\n", "3\n"), Case("50000000000000000 1", "50000000000000001")]
SAME = "class Same:\n    def __eq__(self, other):\n        return True"
SLOW_MAIN = "def main():\n    time.sleep(0.1)\n    print(sum(map(int, input().split())), flush=True)\n"
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
        f"import threading, time\n{SLOW_MAIN}threading.Thread(target=main).start()",
        f"import threading, time, sys\n{SLOW_MAIN}threading.Thread(target=main).start()\nsys.exit()",
        f"import threading, time\n{SLOW_MAIN}def start():\n    threading.Thread(target=main).start()\n"
        "threading.Thread(target=start).start()",  # a thread that is started by another
        f"import time\nfrom concurrent.futures import ThreadPoolExecutor as Pool\n{SLOW_MAIN}Pool(1).submit(main)",
        "from multiprocessing import Process\nnumbers = list(map(int, input().split()))\n"
        "Process(target=lambda: print(sum(numbers), flush=True)).start()",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "print(sum(map(int, input().split())))",
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


ENDLESS = ["while True:\n    pass", "import time\ntime.sleep(60)", "import signal\nsignal.pause()"]


@pytest.mark.parametrize("source", some_slow(ENDLESS, keep=ENDLESS[:1]))
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


HERE = "import os, time\nhere = lambda: os.readlink('/proc/self')\n"  # our number of a process in a PID namespace
CHILD = (
    HERE
    + """
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, here().encode())
    time.sleep(600)
print(os.read(reading, 20).decode())"""
)
DAEMON = (
    HERE
    + """
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, here().encode())
        time.sleep(600)
    os._exit(0)
print(os.read(reading, 20).decode())"""
)
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
# A process of a session of its own writes a file later; what its parent does to the processes above follows.
LATER = """import os, time
above = lambda process: int(open(f"/proc/{{process}}/stat").read().rpartition(")")[2].split()[1])
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(writing, os.readlink("/proc/self").encode())
    time.sleep(0.4)
    open({path!r}, "w").write("alive")
    time.sleep(600)
print(os.read(reading, 20).decode(), flush=True)
"""
ABOVE = {  # the parent is the init, and its parent the supervisor, which a PID namespace hides
    "nothing": "",
    "kill": "os.kill(os.getppid(), 9)\ntime.sleep(0.1)",
    "stop": "os.kill(os.getppid(), 19)\ntime.sleep(0.1)",
    "kill both": "for _ in range(2):\n    os.kill(os.getppid(), 9)\n    time.sleep(0.1)",
    "kill the supervisor": "os.kill(above(os.getppid()), 9)\ntime.sleep(0.1)",
    "stop the supervisor": "os.kill(above(os.getppid()), 19)\ntime.sleep(0.1)",
}
PLACES = [("namespace", above) for above in list(ABOVE)[:3]] + [("subreaper", above) for above in ABOVE]


@pytest.fixture(params=["namespace", "subreaper"])
def supervised(request, monkeypatch):
    """With a PID namespace, where the kernel allows it, and as in a container that allows none."""
    if request.param == "subreaper":
        monkeypatch.setattr(sandbox, "NAMESPACES", ())
    else:
        with Program("import os\nprint(os.getppid())", "", LIMITS) as program:
            if program.answer("") != ("", "1\n"):
                pytest.skip("the kernel lets no user make a PID namespace here")
    return request.param


@pytest.mark.parametrize("source", [CHILD, DAEMON, DEAF + DAEMON], ids=["child", "daemon", "deaf"])
def test_a_process_left_behind_is_killed(source, supervised):
    with Program(source, "", LIMITS) as program:
        trouble, answer = program.answer("")
        assert trouble == ""
        assert alive(int(answer))
    assert not alive(int(answer))


@pytest.mark.parametrize(("supervised", "above"), some_slow(PLACES, keep=PLACES[::3]), indirect=["supervised"])
def test_whatever_a_program_does_to_those_above_nothing_of_it_lives_on(supervised, above, tmp_path):
    path, begin = tmp_path / "later", time.monotonic()
    with Program(LATER.format(path=str(path)) + ABOVE[above], "", LIMITS) as program:
        program.answer("")
        assert (started := int(os.pread(program._files[1].fileno(), 20, 0))) > 1
    assert not alive(started)
    assert time.monotonic() - begin < 8
    time.sleep(max(0, 0.7 - (time.monotonic() - begin)))
    assert not path.exists()


@pytest.mark.parametrize("supervised", ["namespace"], indirect=True)
def test_in_a_namespace_no_process_outside_can_be_signalled(supervised):
    with subprocess.Popen(["sleep", "60"]) as other:
        source = f"import os\ntry:\n    os.kill({other.pid}, 9)\nexcept ProcessLookupError:\n    print('not there')"
        assert verdict_on(source, "", [Case("", "not there")], LIMITS) == "passed"
        assert other.poll() is None
        other.kill()


BOMB = """import os, time
for _ in range(9):  # 512 processes
    try:
        os.fork()
    except BlockingIOError:
        time.sleep(60)
time.sleep(60)"""
THREADS = "import threading, time\nfor _ in range(400):\n    threading.Thread(target=time.sleep, args=(60,)).start()"


@pytest.mark.parametrize("source", [BOMB, THREADS], ids=["processes", "threads"])
def test_too_many_processes_or_threads_end_a_program(source, supervised):
    limits, begin = Limits(seconds=2, memory=1 << 34, processes=32), time.monotonic()
    with Program(source, "", limits) as program:
        assert program.answer("")[0] in ("error", "time limit")  # the latter where the kernel refuses a fork
        assert time.monotonic() - begin < 4
        assert len(list(tasks_below(program._process.pid))) <= 32
    assert sandbox.processes_of(program._folder.name) == []


def test_a_program_may_have_some_threads(supervised):
    source = (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(16) as pool:\n"
        "    print(sum(pool.map(int, input().split())))"
    )
    assert verdict_on(source, "", SUMS, LIMITS) == "passed"


def test_nothing_outlives_who_asked(tmp_path, supervised):
    asks = f"""
import os, sys
from ream.evaluation.livecodebench import sandbox
sandbox.NAMESPACES = {sandbox.NAMESPACES!r}
with sandbox.Program({DAEMON!r} + "\\nprint(here())") as program:
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


def test_files_left_behind_are_removed():
    source = (
        "import os\nos.makedirs('a/b')\nopen('a/b/file', 'w').write('x')\nos.symlink('/etc', 'a/link')\n"
        "os.mkfifo('a/pipe')\nos.chmod('a/b', 0)\nos.chmod('a', 0)\nos.chmod('.', 0)\nprint(os.getcwd())"
    )
    with Program(source, "", LIMITS) as program:
        trouble, answer = program.answer("")
        assert trouble == ""
        assert Path(answer.strip()).parent == Path(program._folder.name)
    assert not Path(program._folder.name).exists()
    assert Path("/etc/passwd").exists()


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
