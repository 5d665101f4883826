from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from posecli.backends import export as module
from posecli.backends.export import export, export_network
from posecli.backends.onnx import open_network
from posecli.errors import ConfigError, WeightsError
from posecli.networks import get_spec, random_network
from posecli.networks._weights import save_weights

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")


def opened(path, kind):
    return open_network(path, name="mine", device=CPU, kinds=[kind])


def small(name, **options):
    spec = get_spec(name).with_options(options, input_hw=(64, 64))
    return random_network(spec), spec


def test_a_refiner_comes_back_with_its_conventions(tmp_path):
    spec = get_spec("hrnet-w32").with_options({"width": 4}, input_hw=(64, 32))
    network = random_network(spec)
    difference = export(network, spec, tmp_path / "a.onnx", {"license": "MIT", "empty": ""})
    again, found = opened(tmp_path / "a.onnx", "refiner")
    crops = torch.rand(5, 3, 64, 32)

    assert 0 <= difference < 1e-4
    torch.testing.assert_close(again(crops)[0], network(crops)[-1], rtol=1e-4, atol=1e-5)
    for field in ("input_hw", "bgr", "mean", "std", "margin", "border", "codec"):
        assert getattr(found, field) == getattr(spec, field), field
    facts = {item.key: item.value for item in onnx.load(str(tmp_path / "a.onnx")).metadata_props}
    assert (facts["network"], facts["license"]) == ("hrnet-w32", "MIT")
    assert "empty" not in facts


def test_a_proposer_takes_pictures_of_any_size(tmp_path):
    spec = get_spec("detposenet-tiny")
    network = random_network(spec)
    export(network, spec, tmp_path / "a.onnx", {})
    again, found = opened(tmp_path / "a.onnx", "proposer")
    pictures = torch.rand(3, 3, 96, 160)
    ours, theirs = network(pictures), again(pictures)

    assert found.codec.stride == 4
    for field in ("logits", "boxes", "heatmaps", "pafs"):
        wanted = getattr(ours, field)
        torch.testing.assert_close(getattr(theirs, field), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_a_network_that_takes_poses_gets_them(tmp_path):
    network, spec = small("posefix-r50", width=8)
    export(network, spec, tmp_path / "a.onnx", {})
    again, found = opened(tmp_path / "a.onnx", "refiner")
    crops, prior = torch.rand(2, 3, 64, 64), 255 * torch.rand(2, 17, 64, 64)

    assert found.takes_prior
    wanted = network(crops, prior)[-1]
    torch.testing.assert_close(again(crops, prior)[0], wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    points = torch.rand(2, 17, 2) * 64
    seen = torch.ones(2, 17, dtype=torch.bool)
    drawn = again.draw_prior(points, seen, crop_hw=(64, 64))
    assert torch.equal(drawn, network.draw_prior(points, seen, crop_hw=(64, 64)))


class Drifting(nn.Module):
    """Answers otherwise in every run, which the exporter, who follows one, cannot know."""

    def __init__(self):
        super().__init__()
        self.weight, self.runs = nn.Parameter(torch.ones(17, 3, 4, 4)), 0

    def forward(self, crops):
        self.runs += 1
        return (nn.functional.conv2d(crops, self.weight, stride=4) * self.runs,)


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path):
    with pytest.raises(WeightsError, match=r"a\.onnx: not written: its answers differ from torch's by .* is allowed"):
        export(Drifting(), get_spec("prs-tiny"), tmp_path / "a.onnx", {})

    assert list(tmp_path.iterdir()) == []


class Gamma(nn.Module):
    """Has a part that ONNX has no word for."""

    def forward(self, crops):
        return (torch.special.gammaln(crops).expand(-1, 17, -1, -1),)


def test_what_onnx_cannot_express_is_told(tmp_path, capfd):
    with pytest.raises(WeightsError, match="prs-tiny cannot be expressed in ONNX"):
        export(Gamma(), get_spec("prs-tiny"), tmp_path / "a.onnx", {})

    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""  # where results go


def test_a_shuffling_network_can_be_expressed(tmp_path):
    network, spec = small("simplebaseline-shufflenetv2", width=8)

    assert export(network, spec, tmp_path / "a.onnx", {}) < module.TOLERANCE


def test_weights_of_the_users_own(tmp_path):
    torch.manual_seed(3)
    network = get_spec("prs-tiny").build()
    save_weights(network, tmp_path / "mine.safetensors", {"license": "CC0"})
    exported = export_network("prs-tiny", tmp_path / "deep" / "a.onnx", weights=tmp_path / "mine.safetensors")

    facts = {item.key: item.value for item in onnx.load(str(exported.path)).metadata_props}
    assert facts["license"] == "CC0"
    assert exported.bytes == exported.path.stat().st_size
    assert exported.difference < module.TOLERANCE


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("fasterrcnn-r50-fpn", ConfigError, "is a detector; ONNX files are made of refiners and proposers"),
        ("prs-tinny", ConfigError, "did you mean prs-tiny"),
        ("hrnet-w48", WeightsError, "posecli weights pull"),
        ("hrnet-w32-384x288", WeightsError, "posecli weights pull"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path, monkeypatch, name, error, told):
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))
    with pytest.raises(error, match=told):
        export_network(name, tmp_path / "a.onnx")


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'posecli\[onnx\]'"):
        export_network("prs-tiny", tmp_path / "a.onnx")


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"a\.onnx: cannot be written"):
        export_network("prs-tiny", tmp_path / "file" / "a.onnx")


def test_what_a_file_says_of_itself_is_checked(tmp_path):
    network, spec = small("prs-tiny")
    export(network, spec, tmp_path / "a.onnx", {})
    model = onnx.load(str(tmp_path / "a.onnx"))
    onnx.helper.set_model_props(model, {"posecli.spec": '{"std": [0, 1, 1]}'})
    onnx.save(model, str(tmp_path / "a.onnx"))

    with pytest.raises(WeightsError, match="std is 0, wanted"):
        opened(tmp_path / "a.onnx", "refiner")
