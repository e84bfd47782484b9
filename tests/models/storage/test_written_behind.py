"""Writing behind: order and bytes, errors of either side, and how much is in memory at once."""

import hashlib
import os
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from ream.errors import UserError
from ream.models.storage.shard_writing import OutputTensor, write_shard
from ream.models.storage.written_behind import AHEAD_BYTES, WAITING, written_behind


class Counted(bytearray):
    """A piece that counts how many of it there are."""

    alive, most = 0, 0

    def __init__(self, *given):
        super().__init__(*given)
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self):
        Counted.alive -= 1


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    Counted.alive = Counted.most = 0
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("writing")]


def test_pieces_are_written_in_their_order_by_one_other_thread():
    written, threads = [], set()

    def write(piece):
        time.sleep(0.001 * (piece[0] % 3))  # as long as the next takes to be made, shorter, longer
        written.append(piece)
        threads.add(threading.current_thread())

    with written_behind(write) as put:
        for number in range(40):
            time.sleep(0.001 * (number % 4 == 0))
            put(bytes([number]))
    assert written == [bytes([number]) for number in range(40)]
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_the_next_piece_is_made_while_one_is_written():
    made = threading.Event()

    def write(piece):
        assert made.wait(30)  # for good, were the second piece only asked for after this one

    with written_behind(write) as put:
        put(b"first")
        made.set()
        put(b"second")


@pytest.mark.parametrize("slow", ["making", "writing"])
def test_no_more_pieces_are_in_memory_than_said(slow):
    def write(piece):
        time.sleep(0.005 * (slow == "writing"))

    with written_behind(write) as put:
        for _ in range(20):
            time.sleep(0.005 * (slow == "making"))
            put(Counted(b"x"))
    assert Counted.alive == 0
    assert Counted.most <= WAITING + 2  # one that is written, one that is made
    assert slow == "making" or Counted.most == WAITING + 2


def test_large_pieces_are_alone_with_the_one_that_is_made(monkeypatch):
    monkeypatch.setattr("ream.models.storage.written_behind.AHEAD_BYTES", 100)
    with written_behind(lambda piece: time.sleep(0.002)) as put:
        for _ in range(10):
            put(Counted(60))  # two are more than 100
    assert Counted.most == 2
    assert AHEAD_BYTES > 10**7


def test_an_error_of_the_writer_reaches_the_caller_and_ends_the_making():
    written, made = [], []

    def write(piece):
        if piece == b"3":
            raise OSError("no space")
        written.append(piece)

    def put_many():
        with written_behind(write) as put:
            for number in range(1000):
                made.append(number)
                put(str(number).encode())

    with pytest.raises(OSError, match="no space"):
        put_many()
    assert written[:3] == [b"0", b"1", b"2"]
    assert len(made) <= 4 + WAITING + 2


def test_an_error_of_the_writer_at_the_last_piece_reaches_the_caller():
    def write(piece):
        time.sleep(0.01)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), written_behind(write) as put:
        put(b"only")


@pytest.mark.parametrize("error", [UserError("holds NaN"), KeyboardInterrupt()])
def test_an_error_while_making_ends_the_writer(error):
    begun, go = [], threading.Event()

    def write(piece):
        begun.append(piece)
        assert go.wait(30)

    def put_three_and_fail():
        with written_behind(write) as put:
            for number in range(3):
                put(bytes([number]))
            while not begun:
                time.sleep(0.001)
            threading.Timer(0.05, go.set).start()  # while the block waits for the piece that is being written
            raise error

    with pytest.raises(type(error)):
        put_three_and_fail()
    assert begun == [b"\0"]  # those that waited were let go


def tensors_of(arrays, after=None):
    """Arrays as tensors to write; a function is called before each is made."""

    def make(name):
        if after is not None:
            after(name)
        return [arrays[name][row].tobytes() for row in range(len(arrays[name]))]  # pieces, as of stacked experts

    return [OutputTensor(name, "F32", array.shape, lambda name=name: make(name)) for name, array in arrays.items()]


@pytest.fixture
def arrays(rng):
    return {f"t{number}": rng.normal(size=(3, 5 + number)).astype(np.float32) for number in range(30)}


def test_a_shard_has_the_bytes_of_its_tensors_and_the_hash_of_the_file(arrays, tmp_path):
    told = write_shard(tmp_path / "x.safetensors", tensors_of(arrays))
    raw = (tmp_path / "x.safetensors").read_bytes()
    assert told == hashlib.sha256(raw).hexdigest()
    assert raw.endswith(b"".join(array.tobytes() for array in arrays.values()))
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("error", [UserError("t20 holds NaN"), KeyboardInterrupt()])
def test_a_shard_whose_making_fails_leaves_no_file(arrays, tmp_path, error):
    def fail(name):
        if name == "t20":
            raise error

    with pytest.raises(type(error)):
        write_shard(tmp_path / "x.safetensors", tensors_of(arrays, fail))
    assert list(tmp_path.iterdir()) == []


def test_a_shard_on_a_full_disk_is_a_users_error_and_leaves_no_file(arrays, tmp_path, monkeypatch):
    import builtins

    real = open

    def full(path, mode="r", *given, **options):
        return real("/dev/full" if mode == "wb" else path, mode, *given, **options)

    large = arrays | {"large": np.zeros((2, 1 << 18), np.float32)}  # more than a file's buffer: written at once
    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(UserError, match=f"cannot be written: {os.strerror(28)}; free space"):
        write_shard(tmp_path / "x.safetensors", tensors_of(large))
    assert list(tmp_path.iterdir()) == []
