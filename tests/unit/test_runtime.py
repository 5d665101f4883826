from __future__ import annotations

import platform
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from posecli import runtime
from posecli.errors import ConfigError, DeviceError
from posecli.runtime import (
    Reduced,
    Uploader,
    Workers,
    join_workers,
    out_of_memory,
    read_back,
    resolve_precision,
    send,
    worker_devices,
)

CPU = torch.device("cpu")


WORKER = """
import os, sys
from pathlib import Path
import torch
from torch import nn
from posecli.runtime import join_workers

folder, rank, port = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
os.environ |= {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
torch.set_num_threads(1)

def work():  # a function: what holds the process group is gone before the interpreter ends
    with join_workers(torch.device("cpu")) as workers:
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        share = torch.arange(12.0).view(4, 3)[workers.share(torch.arange(4))]
        parallel = workers.spread(network)
        parallel(share).square().mean().backward()
        flags = [workers.any(flag) for flag in (workers.rank == 1, False)]
        torch.save([network.weight.grad, torch.tensor(flags)], folder / f"{rank}.pt")

work()
"""


def test_gradients_of_two_processes_are_those_of_the_whole_batch(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank), port], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    told = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told

    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    network(torch.arange(12.0).view(4, 3)).square().mean().backward()
    for rank in range(2):
        grad, flags = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(grad, network.weight.grad)
        assert flags.tolist() == [True, False]


def test_shares_are_disjoint_and_whole():
    index = torch.randperm(12)
    shares = [Workers(CPU, rank, 3).share(index) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert sorted(torch.cat(shares).tolist()) == list(range(12))


def test_alone_nothing_is_wrapped(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network = nn.Linear(1, 1)
    with join_workers(CPU) as workers:
        assert workers == Workers(CPU, 0, 1)
        assert workers.spread(network) is network


@pytest.mark.gpu
def test_each_process_gets_its_own_device(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for name, value in {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_PORT", "29876")
    with join_workers(torch.device("cuda")) as workers:
        assert workers == Workers(torch.device("cuda:0"), 0, 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_running_out_of_memory_is_known_by_its_kind_or_words(error):
    assert out_of_memory(error)


def test_running_out_of_the_cpus_memory_is_known():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 62, dtype=torch.uint8)

    assert out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes"), ValueError("out of memory"), DeviceError("out of memory")]
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not out_of_memory(error)


def test_a_buffer_is_filled_again_only_when_its_pictures_are_gone(monkeypatch):
    class Event:
        waited = 0

        def __init__(self, blocking):
            assert blocking  # a spinning CPU would be missed elsewhere

        def synchronize(self):
            Event.waited += 1

    made = []

    def pinned(count, dtype):
        made.append(count)
        return torch.zeros(count, dtype=dtype)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(runtime, "_pinned", pinned)
    buffer = runtime._Buffer()
    small, large = torch.full((2, 3, 3), 7, dtype=torch.uint8), torch.full((4, 5, 3), 9, dtype=torch.uint8)

    first = buffer.fill([small, large]).clone()
    second = buffer.fill([large])

    assert first.tolist() == [7] * 18 + [9] * 60
    assert second.tolist() == [9] * 60
    assert (Event.waited, made) == (2, [78])  # memory is used again


def test_what_lies_on_a_cpu_is_neither_sent_nor_copied():
    images = [torch.zeros(2, 2, 3, dtype=torch.uint8)]
    tensors = [torch.rand(2, 3), torch.rand(4)]

    assert [tensor.data_ptr() for tensor in Uploader(CPU)(images)] == [images[0].data_ptr()]
    assert send(tensors[0], CPU).data_ptr() == tensors[0].data_ptr()
    assert [one is other for one, other in zip(read_back(tensors)(), tensors, strict=True)] == [True, True]


def test_what_comes_back_together_is_taken_apart_again(monkeypatch):
    monkeypatch.setattr(runtime, "has_own_memory", lambda _: True)
    copies = []
    monkeypatch.setattr(runtime, "_copy_back", lambda tensor: copies.append(tensor.shape) or (lambda: tensor))
    tensors = [torch.rand(2, 3), torch.rand(4), torch.rand(2, 0)]

    found = read_back(tensors)()

    torch.testing.assert_close(found, tensors, rtol=0, atol=0)
    assert copies == [(10,)]


def test_workers_are_dealt_to_devices_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    assert worker_devices("auto", sources=9) == ["auto"]
    assert worker_devices("cpu", 2, sources=9) == ["cpu", "cpu"]
    assert worker_devices("cuda:0,cuda:2", sources=9) == ["cuda:0", "cuda:2"]
    assert worker_devices("all", sources=9) == ["cuda:0", "cuda:1", "cuda:2"]
    assert worker_devices("all", 4, sources=9) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    with pytest.raises(DeviceError, match="no device cuda:3: this machine has 3"):
        worker_devices("cuda:0,cuda:3", sources=9)
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        worker_devices("cpu,gpu", sources=9)


def test_fewer_sources_than_devices_have_several_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    assert worker_devices("all", sources=1) == ["cuda:0,cuda:1,cuda:2"]
    assert worker_devices("all", sources=2) == ["cuda:0,cuda:2", "cuda:1"]
    assert worker_devices("cuda:1", 2, sources=1) == ["cuda:1"]
    assert worker_devices("cpu", 4, sources=0) == ["cpu"]


def test_all_devices_of_a_machine_without_a_gpu_are_the_cpu():
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    assert worker_devices("all", sources=3) == ["cpu"]


class Grows(nn.Linear):
    """Has something besides its forward, as a network that takes poses."""

    def draw(self):
        return "drawn"


def test_a_reduced_network_computes_in_its_precision_and_is_else_the_same():
    torch.manual_seed(0)
    network, inputs = Grows(8, 4), torch.rand(2, 8)

    answer = Reduced(network, CPU, "bf16")(inputs)

    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(answer.float(), network(inputs), rtol=0.02, atol=0.02)
    assert network.weight.dtype == torch.float32
    assert Reduced(network, CPU, "bf16").draw() == "drawn"
    with pytest.raises(AttributeError, match="paint"):
        Reduced(network, CPU, "bf16").paint()


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_processor_has_instructions_for(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(runtime, "_cpu_has_bf16", lambda: has_bf16)

    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("auto", torch.device("cuda")) == "fp32"
    assert resolve_precision("fp32", CPU) == "fp32"
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        resolve_precision("fp16", CPU)


KEPT = """
import resource
import numpy as np
from posecli.runtime import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_freed_memory()
np.ones(1 << 24, np.float32)  # 64 MiB, and gone
before = faults()
np.ones(1 << 24, np.float32)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is left alone")
def test_memory_that_was_freed_is_used_again():
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, timeout=60, check=True)

    assert int(done.stdout) < 100  # of 16384 pages, or of 544 where some are huge
