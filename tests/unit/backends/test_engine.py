from __future__ import annotations

import os
from itertools import islice

import pytest
import torch

from posecli.backends import engine
from posecli.backends.engine import graph_path, run_in_onnx
from posecli.backends.onnx import OnnxProposer, OnnxRefiner
from posecli.config import DetectConfig, FilterConfig, PipelineConfig, RefineConfig
from posecli.errors import ConfigError
from posecli.media.sources import open_source
from posecli.networks import get_spec, random_network
from posecli.pipeline import load_pipeline, load_refiner

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Loads:
    """Gives a small network, and counts how often it was asked."""

    def __init__(self, meanwhile=lambda: None):
        self.count, self.meanwhile = 0, meanwhile

    def __call__(self):
        self.count += 1
        self.meanwhile()
        spec = get_spec("hourglass-1").with_options({"width": 8}, input_hw=(64, 64))
        return random_network(spec), spec

    def through_onnx(self, digest="abc"):
        network, spec = run_in_onnx(self, name="hourglass-1", digest=digest, device=CPU, kinds=["refiner"])
        assert spec.name == "hourglass-1"
        return network(torch.ones(2, 3, 64, 64))[0]


def test_a_graph_is_made_once_for_each_file_of_weights(home):
    loads = Loads()
    first, again = loads.through_onnx(), loads.through_onnx()
    wanted = loads()[0](torch.ones(2, 3, 64, 64))[-1]
    loads.through_onnx(digest="other weights")

    assert loads.count == 3  # one of them by this test
    assert torch.equal(first, again)
    torch.testing.assert_close(first, wanted, rtol=1e-4, atol=1e-5)
    kept = {path.name for path in home.rglob("*") if path.is_file()}
    assert kept == {graph_path("hourglass-1", digest).name for digest in ("abc", "other weights")}


def test_a_damaged_graph_is_made_anew():
    loads = Loads()
    first = loads.through_onnx()
    path = graph_path("hourglass-1", "abc")
    path.write_bytes(path.read_bytes()[:1000])

    assert torch.equal(loads.through_onnx(), first)
    assert loads.count == 2
    assert len(path.read_bytes()) > 1000


def test_other_code_makes_another_graph(monkeypatch):
    before = graph_path("hourglass-1", "abc")
    monkeypatch.setattr(engine, "_code", lambda: "edited")

    assert graph_path("hourglass-1", "abc") != before


def test_graphs_that_were_not_used_for_longest_are_forgotten(home, monkeypatch):
    monkeypatch.setattr(engine, "_MOST_GRAPHS", 2)
    loads = Loads()
    for used, digest in enumerate(("first", "second")):
        loads.through_onnx(digest)
        os.utime(graph_path("hourglass-1", digest), (used, used))
    loads.through_onnx("first")  # its time is now
    loads.through_onnx("third")

    kept = {path.name for path in home.rglob("*.onnx")}
    assert kept == {graph_path("hourglass-1", digest).name for digest in ("first", "third")}


def test_two_processes_may_make_a_graph_at_once(home):
    other = Loads()
    loads = Loads(meanwhile=other.through_onnx)  # which is done before this one has begun to write

    assert torch.equal(loads.through_onnx(), other.through_onnx())
    assert (loads.count, other.count) == (1, 1)
    assert [path.name for path in home.rglob("*") if path.is_file()] == [graph_path("hourglass-1", "abc").name]


def test_a_cache_that_cannot_be_written_is_done_without(home):
    home.write_text("no folder")
    loads = Loads()

    assert torch.equal(loads.through_onnx(), loads.through_onnx())
    assert loads.count == 2


@pytest.mark.weights
def test_the_default_networks_find_the_same_people(examples):
    with open_source(str(examples / "walkers.mp4")) as source:
        frames = list(islice(source, 60, 100, 10))  # everybody is on them
    in_torch, in_onnx = (load_pipeline(PipelineConfig(engine=engine), device="cpu") for engine in ("torch", "onnx"))
    wanted, found = ([done.poses for done in pipeline.run(frames)] for pipeline in (in_torch, in_onnx))

    assert {type(network) for network in in_onnx.networks.values()} == {OnnxProposer, OnnxRefiner}
    assert in_onnx.weights == in_torch.weights
    assert sum(map(len, wanted)) >= 8
    for ours, theirs in zip(wanted, found, strict=True):
        assert len(ours) == len(theirs)
        torch.testing.assert_close(theirs.keypoints, ours.keypoints, rtol=0, atol=0.1)  # pixels
        torch.testing.assert_close(theirs.scores, ours.scores, rtol=0, atol=1e-3)


def test_a_detector_goes_on_in_torch_and_that_is_said():
    detect, filtering = DetectConfig(detector="fasterrcnn-r50-fpn"), FilterConfig(filter=False)
    pipeline = load_pipeline(
        PipelineConfig(engine="onnx", detect=detect, filtering=filtering), device="cpu", allow_random=True
    )

    assert isinstance(pipeline.networks["prs-tiny"], OnnxRefiner)
    assert "fasterrcnn-r50-fpn runs in torch: ONNX files are made of refiners and proposers" in pipeline.notes()


def test_networks_without_weights_take_random_ones_there_too():
    refiner, notes = load_refiner(RefineConfig(refiner="hourglass-1"), engine="onnx", device="cpu", allow_random=True)

    assert refiner.spec.name == "hourglass-1"
    assert notes == ("random weights (hourglass-1): these poses mean nothing",)


def test_an_unknown_engine_is_told():
    with pytest.raises(ConfigError, match="unknown engine 'tflite'; choose from torch, onnx"):
        PipelineConfig(engine="tflite")


def test_another_engine_than_torch_has_its_own_precision():
    PipelineConfig(engine="onnx", precision="auto")
    with pytest.raises(ConfigError, match="--precision bf16 is for --engine torch"):
        PipelineConfig(engine="onnx", precision="bf16")
