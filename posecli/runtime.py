"""Devices and number formats: the one module that says "cuda"."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from posecli.errors import ConfigError, DeviceError

_OUT_OF_MEMORY = (
    "out of memory",  # CUDA's driver and runtime
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN, cuFFT
    "can't allocate memory",  # torch on a CPU
    "not enough memory",  # torch on a CPU, on Windows
    "Failed to allocate memory",  # ONNX Runtime
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_KEPT_BYTES = 1 << 30  # blocks up to here are used again, and so much stays free at most
_PAD_BYTES = 1 << 27  # more than the 64 MiB of a thread's part of the heap, which then never goes back to the system
_KERNELS = 4096  # of some 50 kB each, at most
_MOST_WORKERS = 8  # batches of frames at once; each holds its frames and its networks' features in memory


def resolve_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device that is there.

    Raises:
        ConfigError: another word.
        DeviceError: CUDA is asked for and not to be had.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdecimal()):
        raise ConfigError(f"unknown device {name!r}; choose auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        if not torch.cuda.is_available():
            build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
            raise DeviceError(f"no CUDA device: torch {torch.__version__} is built for {build}; use --device cpu")
        if index and int(index) >= torch.cuda.device_count():
            raise DeviceError(f"no device {name}: this machine has {torch.cuda.device_count()}; count starts at 0")
    return torch.device(name)


def worker_devices(name: str, workers: int | None = None, *, sources: int) -> list[str]:
    """Share the devices of a run out among processes.

    Args:
        name: one device as in `resolve_device`; several with commas between; or "all", which is every CUDA device, or
            the CPU where there is none.
        workers: how many may work at once; None: one a device. Devices are dealt to them in turn.
        sources: how many there are. A process more would have nothing to do, so that its device goes to another one.

    Returns:
        For each process the device, or several with commas between.

    Raises:
        ConfigError: no such word.
        DeviceError: CUDA is asked for and not to be had.
    """
    names = name.split(",")
    if name == "all":
        names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]
    if len(names) > 1 or workers is not None:
        names = [str(resolve_device(one.strip())) for one in names]
    count = workers or len(names)
    dealt = [names[index % len(names)] for index in range(count)]
    processes = min(count, max(1, sources))
    return [",".join(dict.fromkeys(dealt[index::processes])) for index in range(processes)]


def make_current(device: torch.device) -> None:
    """Let the calling thread work with this device where it names none: CUDA would wake the first one up for that."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def cores_each(workers: int) -> int:
    """Return the CPU's cores for each of several processes."""
    return max(1, torch.get_num_threads() // workers)


def use_cores(count: int) -> None:
    """Let this process compute on so many of the CPU's cores."""
    torch.set_num_threads(count)


def describe_devices(name: str) -> tuple[str, str]:
    """Say what `name` means on this machine, and what is missing for more.

    Args:
        name: as in `resolve_device`.

    Returns:
        What will be used, and advice; the advice is empty when there is nothing better to be had.

    Raises:
        ConfigError: no such word.
        DeviceError: CUDA is asked for and not to be had.
    """
    device = resolve_device(name)
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        named = ", ".join(f"cuda:{index} {card.name} {card.total_memory >> 30} GiB" for index, card in enumerate(cards))
        return f"{device}; {named}; torch {torch.__version__} for CUDA {torch.version.cuda}", ""
    build = f"CUDA {torch.version.cuda}, but finds no device" if torch.version.cuda else "the CPU only"
    found = f"{device}; torch {torch.__version__} is built for {build}"
    if shutil.which("nvidia-smi") is None:
        return found, ""
    if torch.version.cuda:
        return found, f"the NVIDIA driver may be too old for CUDA {torch.version.cuda}: see nvidia-smi"
    return found, "an NVIDIA driver is here: install torch for CUDA, see https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Share:
    """How batches of frames share a machine."""

    workers: int  # threads that work on a batch each
    cores: int  # that each of them computes on

    def apply(self) -> None:
        """Keep the calling thread to its cores; other threads keep what they have."""
        torch.set_num_threads(self.cores)


def share_cores(device: torch.device, *, batches: int | None = None) -> Share:
    """Return how the batches of a source best share a device: on a CPU a core a batch, as far as memory allows.

    Args:
        device: where they go.
        batches: how many there are, where that is known: one batch alone takes all cores.
    """
    cores = torch.get_num_threads()  # all, or what the user left us with OMP_NUM_THREADS
    most = _MOST_WORKERS if batches is None else max(1, min(batches, _MOST_WORKERS))
    workers = min(cores, most) if device.type == "cpu" else 1
    return Share(workers, cores // workers)


def keep_freed_memory() -> None:
    """Let the C library use memory again that the networks gave back, instead of asking the system each time.

    glibc returns blocks of megabytes to the system and gets them back zeroed, page by page: that took a tenth of a
    pipeline's time. Other C libraries are left alone.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; Windows has no library without a name
        return
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        set_option(option, _KEPT_BYTES)
    set_option(_M_TOP_PAD, _PAD_BYTES)


def keep_kernels() -> None:
    """Let oneDNN keep what it has compiled for every shape of batch that comes by; wants to be asked before it begins.

    It keeps 1,024 kernels, and throws the oldest away. Two small networks have 130 for each shape: photos of a dozen
    shapes with one to sixteen people had most of their kernels compiled again and again, which doubled their time.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS))


@dataclass(frozen=True)
class Workers:
    """The processes that train one network together, and which of them this one is."""

    device: torch.device  # this one's
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, index: Tensor) -> Tensor:
        """Return this process's part of a batch's (N,) sample numbers."""
        return index[self.rank :: self.count]

    def spread(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients are the mean over all processes."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, static_graph=True)  # static: some networks have unused weights

    def any(self, flag: bool) -> bool:
        """Say whether the flag is up in any process; every process has to ask."""
        if self.count == 1:
            return flag
        total = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(total)
        return bool(total)


@contextmanager
def join_workers(device: torch.device) -> Iterator[Workers]:
    """Join the processes that `torchrun` started, each with a device of its own; alone without it.

    Args:
        device: "cuda" becomes the CUDA device of this process's number on its machine.

    Raises:
        DeviceError: more processes than devices.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Workers(device)
        return
    if device.type == "cuda":
        device = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(device, distributed.get_rank(), distributed.get_world_size())
        distributed.barrier()  # gloo's threads have let go of all tensors before any process ends, which aborts it else
    finally:
        distributed.destroy_process_group()


def resolve_precision(name: str, device: torch.device) -> str:
    """Turn "auto" into what networks compute in on a device: bf16 on a CPU that has instructions for it, else fp32.

    Args:
        name: one of `config.PRECISIONS`.
        device: where the networks are.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("--precision fp16 needs a GPU; choose bf16 or fp32 on a CPU")
    if name != "auto":
        return name
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    """Say whether the CPU multiplies bf16 by itself; torch would do it on others, too, but slower than fp32."""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask is not None and ask() for ask in asked)


class Reduced(nn.Module):
    """A network whose convolutions and matrix products compute in another precision, whatever its weights are kept in.

    Args:
        network: all else of it is still to be had as the wrapper's own.
        device: where it runs.
        precision: "bf16" or "fp16".
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        super().__init__()
        self.network, self._kind, self._dtype = network, device.type, DTYPES[precision]

    def forward(self, *inputs: Any) -> Any:
        """Do as the network does."""
        with torch.autocast(self._kind, dtype=self._dtype):
            return self.network(*inputs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


def half_precision(device: torch.device, *, enabled: bool = True) -> AbstractContextManager[None]:
    """Compute convolutions in bfloat16 inside the context."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has held; 0 where the system does not say."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_device_memory(device: torch.device) -> int | None:
    """Return the most bytes that tensors have taken on a device with memory of its own, else None."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that the memory of a device, or of the machine, was too small.

    CUDA's allocator raises `torch.OutOfMemoryError`; its libraries, the CPU's allocator and ONNX Runtime raise errors
    that only their words tell from others.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    foreign = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return foreign and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def free_memory(device: torch.device) -> None:
    """Give back what the allocator of a device keeps for later, so that it lies in one piece again."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def has_own_memory(device: torch.device) -> bool:
    """Say whether what lies on a device has to be copied to be seen here."""
    return device.type != "cpu"


def read_back(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Bring float tensors from their device to the CPU: all in one copy, which does not hold up the device.

    Args:
        tensors: float32, all on one device.

    Returns:
        What waits for the copy and returns the tensors; on a CPU they are themselves.
    """
    if not tensors or not has_own_memory(tensors[0].device):
        return lambda: list(tensors)
    shapes, sizes = [tensor.shape for tensor in tensors], [tensor.numel() for tensor in tensors]
    arrived = _copy_back(torch.cat([tensor.flatten() for tensor in tensors]))
    return lambda: [part.view(shape) for part, shape in zip(arrived().split(sizes), shapes, strict=True)]


def _copy_back(tensor: Tensor) -> Callable[[], Tensor]:
    if tensor.device.type != "cuda":
        return tensor.cpu
    here = _pinned(tensor.numel(), tensor.dtype).view(tensor.shape)
    here.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event(blocking=True)
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        copied.synchronize()
        return here

    return wait


def _pinned(count: int, dtype: torch.dtype) -> Tensor:
    """Return (count,) memory that a GPU reads and writes by itself; torch keeps what is given back for the next."""
    return torch.empty(count, dtype=dtype, pin_memory=True)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor from the CPU to a device without waiting for either."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Uploader:
    """Brings pictures to a device, while that computes: on a stream of its own, from buffers that are used again.

    Args:
        device: where to.
        buffers: batches of pictures that may be on their way at once.
    """

    def __init__(self, device: torch.device, *, buffers: int = 2) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._buffers = deque(_Buffer() for _ in range(buffers)) if self._stream is not None else deque()

    def __call__(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return uint8 pictures of any shapes on the device; those on a CPU are themselves."""
        if self._stream is None:
            return [image.to(self._device) for image in images]
        if not images:
            return []
        buffer = self._buffers[0]
        self._buffers.rotate(-1)
        packed = buffer.fill(images)
        with torch.cuda.stream(self._stream):
            there = packed.to(self._device, non_blocking=True)
            buffer.sent.record(self._stream)
        current = torch.cuda.current_stream(self._device)
        current.wait_event(buffer.sent)
        there.record_stream(current)  # its memory belongs to the other stream, which must not use it again too early
        sizes = [image.numel() for image in images]
        return [part.view(image.shape) for part, image in zip(there.split(sizes), images, strict=True)]


class _Buffer:
    """Memory that a device reads by itself; it may be written to again when that is done."""

    def __init__(self) -> None:
        self.sent = torch.cuda.Event(blocking=True)
        self._memory = torch.empty(0, dtype=torch.uint8)

    def fill(self, images: Sequence[Tensor]) -> Tensor:
        """Return the pictures one after the other, (bytes,) uint8, once the former ones are gone."""
        self.sent.synchronize()
        size = sum(image.numel() for image in images)
        if len(self._memory) < size:
            self._memory = _pinned(size, torch.uint8)
        packed = self._memory[:size]
        for part, image in zip(packed.split([image.numel() for image in images]), images, strict=True):
            part.view(image.shape).copy_(image)
        return packed


def number_formats(device: torch.device) -> tuple[torch.dtype, ...]:
    """Return the formats that networks may compute in on a device."""
    half = (torch.float16, torch.bfloat16) if device.type == "cuda" else (torch.bfloat16,)
    return (torch.float32, *half)


def onnx_providers(device: torch.device) -> list[str]:
    """Name ONNX Runtime's ways to run on a device, the best first."""
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if device.type == "cuda" else ["CPUExecutionProvider"]


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, with its weights in the layout that convolutions there like best."""
    placed: nn.Module = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed
