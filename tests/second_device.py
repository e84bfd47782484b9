"""A device that is apart from the host, for tests where there is no GPU: its tensors are host tensors in disguise.

What a GPU would refuse is refused: an operation on tensors of both, reading a tensor of the device as an array. What
would make the host wait for a GPU is written down. Copies by a stream are made as late as a GPU may make them, when
somebody waits for them, and a tensor that is still to arrive holds NaN, so that whoever forgets to wait, or fills a
buffer that is still being read, gets wrong numbers. What it can't show: speed, a GPU's own rounding, its memory.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
KIND = "apart"
# Operations whose result's size or value the host has to know before it can go on.
WAITING = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.bincount.default,
    aten.is_nonzero.default, aten.equal.default, aten._unique2.default, aten.repeat_interleave.Tensor,
}  # fmt: skip
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class _Backend:
    """What torch asks of a kind of device."""

    is_initialized = is_available = _is_in_bad_fork = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])
    manual_seed_all = staticmethod(lambda seed: None)


def device():
    """The device; torch knows of it from the first call on."""
    if torch._C._get_privateuse1_backend_name() != KIND:
        _setup_privateuseone_for_python_backend(KIND, _Backend())
    return torch.device(KIND, 0)


class There(torch.Tensor):
    """A tensor of the device."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=device(), requires_grad=held.requires_grad,
        )  # fmt: skip

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} outside of `on_device`")

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self):
        raise TypeError("a tensor of the device is no array; bring it to the host first")

    __array__ = numpy

    def record_stream(self, stream):
        assert isinstance(stream, Stream)


class Stream:
    """Copies in the order in which they were asked for, none of them made before somebody waits."""

    current: "Stream"

    def __init__(self, device=None):
        self.copies, self.made = [], 0

    def wait_event(self, event):
        event.synchronize()

    def catch_up(self, mark):
        while self.made < mark:
            self.copies[self.made]()
            self.copies[self.made] = None
            self.made += 1


class Event:
    stream, mark = None, 0

    def record(self, stream):
        self.stream, self.mark = stream, len(stream.copies)

    def synchronize(self):
        if self.stream is not None:
            self.stream.catch_up(self.mark)


@contextmanager
def _current(stream):
    before, Stream.current = Stream.current, stream
    yield
    Stream.current = before


class Device(TorchDispatchMode):
    """Runs what is on the device.

    Attributes:
        waits: names of operations that made the host wait, in their order.
        operations: how many ran on the device.
    """

    def __init__(self):
        super().__init__()
        self.waits, self.operations = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [leaf for leaf in leaves if isinstance(leaf, There)]
        wanted = kwargs.get("device")
        if wanted is not None:
            wanted = torch.device(wanted)
            kwargs["device"] = torch.device("cpu") if wanted.type == KIND else wanted
        name = function.overloadpacket.__name__
        if function is aten._to_copy.default and there and wanted is not None and wanted.type == "cpu":
            self.waits.append(name)
            return function(*_held(args), **_held(kwargs))
        if function is aten.copy_.default and len(there) == 1:
            return self._copy(*args, **kwargs)
        late = function is aten._to_copy.default and not there and wanted is not None and wanted.type == KIND
        if late and kwargs.get("non_blocking") and Stream.current is not Stream.default:
            return self._arriving(args[0], kwargs)
        if not there and (wanted is None or wanted.type != KIND):
            return function(*args, **kwargs)
        self._check(function, name, leaves, args)
        if name == "_fused_sdp_choice":
            return 0  # attention in plain products
        self.operations += 1
        args = _held(args)
        if name == "histc":  # of integers, which a GPU can do
            args = (args[0].float(), *args[1:])
        result = function(*args, **_held(kwargs))
        if function is aten._local_scalar_dense.default or function is aten.equal.default:
            return result
        return tree_map(lambda leaf: There(leaf) if isinstance(leaf, torch.Tensor) else leaf, result)

    def _check(self, function, name, leaves, args):
        """An operation of the device must have all its tensors there, but for numbers and for indices."""
        mixed = [leaf for leaf in leaves if not isinstance(leaf, There) and leaf.dim() and leaf.device.type == "cpu"]
        if mixed and any(isinstance(leaf, There) for leaf in leaves):
            assert function in INDEXING, f"{name} of tensors on the device and on the host"
            assert all(leaf.dtype == torch.int64 for leaf in mixed), f"{name} by a mask on the host"
        if function in WAITING or (
            function in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        ):
            self.waits.append(name)

    def _copy(self, target, source, non_blocking=False):
        """Between the host and the device; to the host without waiting only by an event."""
        if isinstance(target, There):
            target.held.copy_(source)
        elif non_blocking:
            value = source.held.clone()  # operations of a stream run in order: it has this value by then
            Stream.current.copies.append(lambda: target.copy_(value))
        else:
            self.waits.append("copy_")
            target.copy_(source.held)
        return target

    def _arriving(self, source, kwargs):
        """A copy of the source, as it is when the stream comes to it."""
        result = torch.empty_like(source, dtype=kwargs.get("dtype") or source.dtype)
        result.fill_(float("nan") if result.is_floating_point() else 1)
        Stream.current.copies.append(lambda: result.copy_(source))
        return There(result)


def _held(tree):
    return tree_map(lambda leaf: leaf.held if isinstance(leaf, There) else leaf, tree)


@contextmanager
def on_device(monkeypatch):
    """Let the product take the device for a GPU: `Device`."""
    from ream.walk import transfers

    device()
    Stream.default = Stream.current = Stream()
    with monkeypatch.context() as patched:
        patched.setattr(transfers, "has_own_memory", lambda place: place.type == KIND)
        patched.setattr(transfers, "pinned_memory", lambda size, dtype: torch.empty(size, dtype=dtype))
        patched.setattr(torch.cuda, "Stream", Stream)
        patched.setattr(torch.cuda, "Event", Event)
        patched.setattr(torch.cuda, "stream", _current)
        patched.setattr(torch.cuda, "current_stream", lambda place: Stream.current)
        with Device() as running:
            yield running
