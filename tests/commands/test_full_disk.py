"""A disk that fills up: one line and exit code 2, nothing half-written at the output, and the same bytes afterwards."""

import errno
import gc
import os
import re
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from ream.commands import cli
from tests import tiny
from tests.subsets import some_slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("full") / "model", layers=2)


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return tiny.write_params(tmp_path_factory.mktemp("full-params"), sequences=4, batch_tokens=48, probes=40)


@pytest.fixture
def compress(model, params, monkeypatch, capsys):
    """`ream compress` in this process: (exit code, its last line)."""

    def run(out, method="ream", memory=8):
        arguments = ["compress", model, out, "--experts", 4, "--method", method, "--params", params]
        arguments += ["--set", "compute.threads=1", "--set", f"compute.hidden_memory_gb={memory}"]
        monkeypatch.setattr(sys, "argv", ["ream", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said, wrong = capsys.readouterr()
        return end.value.code or 0, (wrong if end.value.code else said).strip().splitlines()[-1]

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    gc.collect()  # an error's traceback held the walk's mapped files
    subprocess.run(["umount", folder], check=True)


def leave(folder, room):
    """Fill a disk up to some bytes."""
    ballast = folder / "ballast"
    ballast.unlink(missing_ok=True)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize - room)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "memory"),
    [
        ("ream", 8),
        pytest.param("ream", 0, marks=pytest.mark.slow),
        pytest.param("hc-smoe", 8, marks=pytest.mark.slow),
        pytest.param("hc-smoe", 0, marks=pytest.mark.slow),
    ],
)
def test_a_disk_may_fill_up_at_any_point(compress, tmp_path, small_disk, method, memory, monkeypatch):
    monkeypatch.setattr("ream.estimate.needs.check_fits", lambda *given: None)  # would foresee most of it
    assert compress(tmp_path / "whole", method)[0] == 0
    out, places = small_disk / "out", set()
    for room in range(0, 1 << 19, 1 << 13):  # each time a bit further
        leave(small_disk, room)
        code, line = compress(out, method, memory)
        if code == 0:
            break
        assert code == 2
        assert line.startswith("error: ")
        assert re.search(r"cannot be written: .*(No space left|os error 28).*; free space", line), line
        places.add(re.sub(r"^error: (\S+).*", r"\1", line).removeprefix(str(small_disk)))
        assert not out.exists()
        assert not (small_disk / ".out.partial").exists()
    assert code == 0
    assert len(places) > 4, places
    assert any(".state" in place for place in places)
    assert "/out" in places
    assert tiny.files(out) == tiny.files(tmp_path / "whole")
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", "out"]


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
SERIALIZING = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


WRITERS = [
    ("ream.walk.state.save_file", SERIALIZING, ".state/sequential-balanced-ream-4/"),
    ("ream.walk.state.write_json", None, ".state/sequential-balanced-ream-4/progress.json"),
    ("ream.recipe.recipe_file.save_file", SERIALIZING, ".safetensors"),
    ("ream.recipe.output.write_shard", FULL, "out"),
    ("ream.recipe.output.copy_companions", FULL, "out"),
    ("ream.recipe.output.write_contents", FULL, "out"),
    ("ream.recipe.output.sync", FULL, "out"),
]


@pytest.mark.parametrize(("place", "error", "named"), some_slow(WRITERS, keep=WRITERS[1::3]))
def test_each_writer_reports_a_full_disk_in_one_line_and_the_same_command_goes_on(
    compress, tmp_path, monkeypatch, place, error, named
):
    from ream.machine.files import replacing

    calls = []

    def full(*given, **options):
        calls.append(given)
        if error is not None:
            raise error
        with replacing(given[0]):
            raise FULL

    assert compress(tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(place, full)
        code, line = compress(tmp_path / "out")
    assert calls
    assert code == 2
    assert line.startswith("error: ")
    assert named in line.split(" cannot be written: ")[0]
    assert "No space left on device" in line
    assert "free space or choose another folder" in line
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.partial").exists()
    assert compress(tmp_path / "out")[0] == 0
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")
