from __future__ import annotations

from pathlib import Path

import pytest
import torch

from posecli.errors import ConfigError, WeightsError
from posecli.networks import get_spec, load_network
from posecli.networks._weights import cache_folder, fill, find_weights, read_weights, save_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "prs-tiny.safetensors"
    save_weights(get_spec("prs-tiny").build(), path, {"network": "prs-tiny"})
    return path


def test_saved_weights_come_back_in_half_precision(tmp_path):
    torch.manual_seed(0)
    before, network = get_spec("prs-tiny").build(), get_spec("prs-tiny").build()
    path = tmp_path / "w.safetensors"
    save_weights(before, path, {"network": "prs-tiny"})
    file = read_weights(path)
    fill(network, file.tensors, where="file", name="prs-tiny")

    assert file.metadata == {"network": "prs-tiny"}
    for own, read in zip(before.state_dict().values(), network.state_dict().values(), strict=True):
        assert torch.equal(
            own.half() if own.is_floating_point() else own, read.half() if read.is_floating_point() else read
        )


def test_loaded_network_is_ready_for_inference(saved):
    network, spec = load_network("prs-tiny", weights=saved)

    assert spec.name == "prs-tiny"
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_weights_of_another_network_are_refused_by_key(saved):
    with pytest.raises(WeightsError, match=r"another network than detposenet-tiny: it lacks"):
        load_network("detposenet-tiny", weights=saved)


def test_another_shape_is_refused_by_both_shapes(saved, tmp_path):
    network = get_spec("prs-tiny").build()
    network.msr.head = torch.nn.Conv2d(32, 14, 1)
    path = tmp_path / "w.safetensors"
    save_weights(network, path, {})

    with pytest.raises(WeightsError, match=r"msr\.head\.weight is 14x32x1x1, but prs-tiny wants 17x32x1x1"):
        load_network("prs-tiny", weights=path)


def test_torn_file_is_refused(saved, tmp_path):
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(saved.read_bytes()[:5000])

    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_network("prs-tiny", weights=torn)


def test_not_a_number_is_refused(tmp_path):
    network = get_spec("prs-tiny").build()
    network.msr.head.bias.data[3] = float("nan")
    path = tmp_path / "nan.safetensors"
    save_weights(network, path, {})

    with pytest.raises(WeightsError, match="not finite"):
        load_network("prs-tiny", weights=path)


def test_missing_file_and_missing_default_say_so(tmp_path):
    with pytest.raises(WeightsError, match="no such weights file"):
        load_network("prs-tiny", weights=tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="comes without weights"):
        find_weights("hrnet-w9000")


def test_unknown_network_is_answered_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean prs-tiny"):
        load_network("prs-tinny")


def test_network_of_the_wrong_kind_is_refused(saved):
    with pytest.raises(ConfigError, match="prs-tiny is a refiner, wanted a proposer"):
        load_network("prs-tiny", weights=saved, kind="proposer")


def test_missing_public_weights_name_the_command_that_gets_them(tmp_path, monkeypatch):
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))

    with pytest.raises(WeightsError, match=r"get them with: posecli weights pull hrnet-w32$"):
        find_weights("hrnet-w32")
    with pytest.raises(WeightsError, match="posecli weights pull simplebaseline-r101-384x288-official"):
        find_weights("simplebaseline-r101-384x288")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"POSECLI_HOME": "/p", "XDG_CACHE_HOME": "/x"}, "/p"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/posecli"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/posecli"),
        ({"HOME": "/h"}, "/h/.cache/posecli"),
    ],
)
def test_the_cache_lies_where_the_user_says(monkeypatch, variables, folder):
    for name in ("POSECLI_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert cache_folder() == Path(folder)
