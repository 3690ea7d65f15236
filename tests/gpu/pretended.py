"""A pretended GPU: tensors on `cuda` lie in the CPU's memory, and behave as a GPU's would.

A tensor that is moved to `cuda` becomes an `OnGPU`, which holds an ordinary one. An operation that
mixes both kinds fails, as it would on a GPU; and everything for which the CPU would have to wait
for the GPU is counted, by the rules of `torch.cuda.set_sync_debug_mode`:

- copies to the CPU, `item`, `tolist`;
- copies to the GPU without `non_blocking=True`, among them lists of numbers as an index;
- results whose size depends on values: `nonzero`, a boolean mask as an index, `unique`.

Enter `PretendedGPU` in a `with` block. The mode that understands `device="cuda"` belongs to the
thread that entered it; operations on an `OnGPU` are checked in every thread.
"""

import sys
import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing

GPU = torch.device("cuda", 0)
aten = torch.ops.aten

_READS_A_VALUE = {aten._local_scalar_dense, aten.is_nonzero, aten.item, aten.equal}
_SIZED_BY_VALUES = {
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
}
_COPIES = {aten.copy_, aten._foreach_copy_, aten._to_copy}
_INDEXES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_FILLS = {aten.index_fill, aten.index_fill_}
_JOINS = {aten.cat, aten.stack}  # these take no number of the CPU in between


class OnGPU(Tensor):
    """A tensor that is tagged as being on the GPU.

    Attributes:
        held: The ordinary tensor with its values.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor):
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device="cpu"
        )
        made.held = held
        return made

    def __init__(self, held: Tensor):
        """Wrap a tensor; see `__new__`."""

    def __repr__(self) -> str:
        return f"OnGPU({self.held!r})"

    def __tensor_flatten__(self):
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return OnGPU(inner["held"])

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _check(func, args, kwargs)
        out = func(*_each(_held, args), **_each(_held, kwargs))
        if isinstance(out, Tensor) and func.overloadpacket is aten.copy_:
            return args[0]
        return return_and_correct_aliasing(func, args, kwargs, _each(on_gpu, out))


def on_gpu(x):
    """Say that a tensor is on the GPU; anything else stays as it is."""
    return OnGPU(x) if isinstance(x, Tensor) and not isinstance(x, OnGPU) else x


def _held(x):
    return x.held if isinstance(x, OnGPU) else x


def _each(change, x):
    """Apply `change` to what lists, tuples and dictionaries contain."""
    if type(x) in (list, tuple):
        return type(x)([_each(change, part) for part in x])
    if type(x) is dict:
        return {key: _each(change, part) for key, part in x.items()}
    return change(x)


waits: Counter[str] = Counter()
"""How often the CPU would have waited for the GPU, by the operation and the line of dsacap."""


def _wait(what: str) -> None:
    frame = sys._getframe()
    while frame and "/dsacap/" not in frame.f_code.co_filename:
        frame = frame.f_back
    where = "a test"
    if frame:
        where = f"{frame.f_code.co_filename.split('/dsacap/')[-1]}:{frame.f_lineno}"
    waits[f"{what} in {where}"] += 1


def _tensors(x) -> list[Tensor]:
    found: list[Tensor] = []
    _each(lambda part: found.append(part) if isinstance(part, Tensor) else None, x)
    return found


def _check(func, args, kwargs) -> None:
    """Count what the CPU would wait for, and raise RuntimeError where devices are mixed."""
    kind = func.overloadpacket
    if kind in _COPIES:
        from_gpu = isinstance(_tensors(args)[-1], OnGPU)
        if not isinstance(_tensors(args)[0], OnGPU):
            _wait("copy to the CPU")
        elif not from_gpu and not (kwargs.get("non_blocking") or args[2:] == (True,)):
            _wait("copy to the GPU")
        return
    if kind in _READS_A_VALUE:
        _wait(kind.__name__)
    if kind in _SIZED_BY_VALUES or func is aten.repeat_interleave.Tensor:
        _wait(kind.__name__)
    if kind is aten.multinomial and (args[1] == 1 or not (args[2:] and args[2])):
        _wait("multinomial's check of its input")
    if kind in _INDEXES:
        indices = [index for index in args[1] if index is not None]
        if not isinstance(args[0], OnGPU):
            raise RuntimeError(f"{func}: a tensor on the CPU indexed by one on the GPU")
        fills = kind is not aten.index and args[2].numel() == 1  # becomes masked_fill
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices) and not fills:
            _wait("boolean index")
        if any(not isinstance(index, OnGPU) for index in indices):
            _wait("index from the CPU")
        args = (args[0], *args[2:])
    if kind in _FILLS and not isinstance(args[2], OnGPU):
        _wait("index from the CPU")
        args = (args[0], *args[3:])
    if torch._C._current_graph_task_id() >= 0:
        return  # torch makes zeros for a gradient where it believes to be, on the CPU
    on_cpu = [t for t in _tensors((args, kwargs)) if not isinstance(t, OnGPU)]
    # Attention to no rows makes its empty result where it believes to be, on the CPU.
    if any(t.numel() and (t.dim() or kind in _JOINS) for t in on_cpu):
        shapes = [f"{t.device.type}{list(t.shape)}" for t in _tensors((args, kwargs))]
        raise RuntimeError(f"{func}: expected all tensors on one device, found {', '.join(shapes)}")


def _is_gpu(device) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class _Mode(TorchFunctionMode):
    """Understands `device="cuda"`, `.to`, and what reads tensors without an operation of torch."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func is Tensor.cuda:
            return self._to(args[0], GPU, **kwargs)
        if func is Tensor.cpu:
            return self._to(args[0], "cpu", **kwargs)
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.untyped_storage:
            return _held(args[0]).untyped_storage()
        if func is Tensor.tolist and isinstance(args[0], OnGPU):
            _wait("tolist")
            return args[0].held.tolist()
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], OnGPU):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if _is_gpu(kwargs.get("device")):
            if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
                _wait(f"{func.__name__} on the GPU")
            return on_gpu(func(*_each(_held, args), **kwargs | {"device": "cpu"}))
        if kwargs.get("device") is not None:
            return func(*_each(_held, args), **kwargs)
        if func is Tensor.new_tensor and isinstance(args[0], OnGPU):
            _wait("new_tensor on the GPU")
            return on_gpu(func(args[0].held, *args[1:], **kwargs))
        return func(*args, **kwargs)

    def _to(self, x: Tensor, *args, **kwargs) -> Tensor:
        other = args[0] if args and isinstance(args[0], Tensor) else kwargs.pop("other", None)
        if other is not None:
            kwargs |= {"device": other.device, "dtype": other.dtype}
            args = args[1:]
        for value, names in zip(
            args, [("device", "dtype"), ("dtype", "non_blocking"), ("non_blocking",)], strict=False
        ):
            [name] = [n for n in names if (n == "dtype") == isinstance(value, torch.dtype)] or names
            kwargs[name] = value
        device, blocks = kwargs.pop("device", None), not kwargs.pop("non_blocking", False)
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        to_gpu = _is_gpu(device)
        if device is not None and to_gpu != isinstance(x, OnGPU):
            if blocks or not to_gpu:
                _wait(f"copy to the {'GPU' if to_gpu else 'CPU'}")
            x = _Move.apply(x, to_gpu)
        return x.to(**kwargs) if kwargs else x


class _Move(torch.autograd.Function):
    """A copy to the other device, whose gradient goes back."""

    @staticmethod
    def forward(ctx, x, to_gpu):
        ctx.to_gpu = to_gpu
        return OnGPU(x.clone()) if to_gpu else x.held.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (gradient.held if ctx.to_gpu else OnGPU(gradient)), None


class _Event:
    """An event on a stream without work left."""

    def __init__(self, enable_timing: bool = False):
        assert enable_timing

    def record(self) -> None:
        pass

    def elapsed_time(self, other: "_Event") -> float:
        return 1.0


def _synchronize(device=None) -> None:
    _wait("synchronize")


_by_true_device = clip_grad._group_tensors_by_device_and_dtype


def _by_device_and_dtype(*args):
    """torch's own function, written in C++, sees the device behind the pretence."""
    return {
        (GPU if isinstance(tensors[0][0], OnGPU) else device, dtype): (tensors, numbers)
        for (device, dtype), (tensors, numbers) in _by_true_device(*args).items()
    }


def _enter_without_gradients(mode: torch.inference_mode) -> None:
    """Enter `no_grad` instead of inference mode, whose tensors cannot be wrapped."""
    mode._pretended = torch.no_grad()
    mode._pretended.__enter__()


def _leave(mode: torch.inference_mode, *error) -> None:
    mode._pretended.__exit__(*error)


@contextmanager
def pretended_gpu():
    """Pretend that this machine has a GPU, and count waits from 0.

    Yields:
        `waits`.
    """
    waits.clear()
    cuda = {
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
        "synchronize": _synchronize,
        "Event": _Event,
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 2**20,
        "max_memory_reserved": lambda device=None: 2**20,
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "pretended GPU",
        "get_device_properties": lambda device=None: SimpleNamespace(total_memory=2**34),
    }
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", lambda self: self))
        stack.enter_context(
            mock.patch.object(clip_grad, "_group_tensors_by_device_and_dtype", _by_device_and_dtype)
        )
        for name, value in (("__enter__", _enter_without_gradients), ("__exit__", _leave)):
            stack.enter_context(mock.patch.object(torch.inference_mode, name, value))
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*")
        stack.enter_context(_Mode())
        yield waits
