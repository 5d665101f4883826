"""Public files find their way into our names with their own conventions; what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from posecli.errors import WeightsError
from posecli.networks import get_spec
from posecli.networks._foreign import fit
from posecli.networks._layouts import LAYOUTS, with_dark
from posecli.networks._weights import WeightsFile
from small_checkpoint import MMPOSE, NAME, public_tensors, publish, small_network  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("small_network")


def fitted(tensors, name="w.pth", **options):
    return fit(WeightsFile(Path(name), tensors), get_spec(NAME), **options)


@pytest.mark.parametrize(
    ("names", "prefix"), [({}, "module."), (MMPOSE, ""), ({**MMPOSE, "head": "keypoint_head."}, "module.")]
)
def test_every_spelling_gives_the_same_weights(names, prefix):
    plain = fitted(public_tensors()[0])
    other = fitted({f"{prefix}{key}": tensor for key, tensor in public_tensors(**names)[0].items()})

    assert other.layout == ("mmpose" if names else "official")
    assert plain.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(tensor, other.tensors[key]) for key, tensor in plain.tensors.items())


def test_a_tensor_that_no_rule_knows_is_named():
    tensors = {**public_tensors()[0], "stage5.0.weight": torch.ones(1), "extra": torch.ones(1)}

    with pytest.raises(WeightsError, match=r"w\.pth: has stage5\.0\.weight and 1 more, which hrnet-w4 does not know"):
        fitted(tensors)


def test_a_missing_tensor_is_named():
    tensors = public_tensors()[0]
    del tensors["stage4.2.branches.3.1.conv2.weight"]

    with pytest.raises(
        WeightsError, match=r"lacks what hrnet-w4 calls body\.stages\.2\.units\.2\.branches\.3\.1\.second"
    ):
        fitted(tensors)


def test_another_shape_is_named_in_the_publishers_words():
    tensors = public_tensors()[0]
    tensors["final_layer.weight"] = torch.ones(14, 4, 1, 1)

    with pytest.raises(WeightsError, match=r"final_layer\.weight is 14x4x1x1, but hrnet-w4 wants 17x4x1x1"):
        fitted(tensors)


def test_whole_numbers_for_weights_are_refused():
    tensors = public_tensors()[0]
    tensors["final_layer.bias"] = tensors["final_layer.bias"].long()

    with pytest.raises(WeightsError, match=r"final_layer\.bias is 17 of int64, but hrnet-w4 wants 17"):
        fitted(tensors)


def test_kinds_of_numbers_that_no_network_is_published_in_are_refused():
    tensors = public_tensors()[0]
    tensors["final_layer.bias"] = tensors["final_layer.bias"].to(torch.float8_e4m3fn)

    with pytest.raises(WeightsError, match=r"final_layer\.bias is 17 of float8_e4m3fn, but hrnet-w4 wants 17"):
        fitted(tensors)


def test_a_huge_tensor_of_one_number_is_refused_by_its_shape():
    tensors = public_tensors()[0]
    tensors["conv1.weight"] = torch.ones(1).expand(1 << 40)

    with pytest.raises(WeightsError, match=r"conv1\.weight is 1099511627776"):
        fitted(tensors)


def test_a_classifier_is_dropped_with_the_reason():
    tensors = {**public_tensors()[0], "classifier.weight": torch.ones(1000, 2048), "classifier.bias": torch.ones(1000)}

    assert fitted(tensors).dropped["the ImageNet classifier"] == 2


def test_a_file_of_another_family_is_refused():
    with pytest.raises(WeightsError, match=r"weights of another network than hrnet-w4: it lacks body\S+ and \d+ more"):
        fitted({"conv1.weight": torch.ones(64, 3, 7, 7)})


def test_dark_is_known_by_the_publishers_file_name(publish):  # noqa: F811
    publish("https://host/hrnet_dark-0123abcd_20220914.pth", name="hrnet-w4-dark", dark=True)
    tensors = public_tensors(**MMPOSE)[0]

    assert fitted(tensors, "hrnet_dark-0123abcd_20220914.pth").spec.codec.subpixel == "dark"
    assert fitted(tensors, "other.pth").spec.codec.subpixel == "quarter"
    assert fitted(tensors, "other.pth", dark=True).spec.codec.blur == 11


def conventions(family, project, network):
    layout = next(layout for layout in LAYOUTS if (layout.family, layout.name) == (family, project))
    return layout.conventions(get_spec(network))


def test_microsofts_simple_baseline_is_shown_bgr_and_mmposes_rgb():
    official = conventions("simplebaseline-", "official", "simplebaseline-r50")
    mmpose = conventions("simplebaseline-", "mmpose", "simplebaseline-r50")

    assert (official.bgr, mmpose.bgr) == (True, False)
    assert official.mean == mmpose.mean == (0.485, 0.456, 0.406)
    assert official.codec == mmpose.codec
    assert (official.codec.subpixel, official.codec.flip_shift, official.codec.offset) == ("quarter", 1.0, 0.0)


def test_mspns_release_and_mmposes_differ_in_colour_crop_and_decoding():
    official, mmpose = conventions("mspn-", "official", "mspn-2"), conventions("mspn-", "mmpose", "mspn-2")

    assert (official.bgr, official.mean, official.margin) == (True, (0.406, 0.456, 0.485), (1.09, 1.135))
    assert (mmpose.bgr, mmpose.mean, mmpose.margin) == (False, (0.485, 0.456, 0.406), (1.25, 1.25))
    assert (official.codec.subpixel, mmpose.codec.subpixel) == ("second_peak", "quarter")
    assert official.codec.peak == mmpose.codec.peak == 255
    assert official.codec.blur == mmpose.codec.blur == 5


def test_darks_filter_is_as_wide_as_its_target():
    assert [with_dark(get_spec(name)).codec.blur for name in ("hrnet-w32", "hrnet-w32-384x288")] == [11, 17]
