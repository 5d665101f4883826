"""What a file says of its preprocessing comes back exactly, and nothing else does."""

from __future__ import annotations

import json

import pytest

from posecli.errors import WeightsError
from posecli.networks import available, get_spec
from posecli.networks._conventions import KEY, from_metadata, to_metadata
from posecli.networks._layouts import LAYOUTS, with_dark


def test_every_networks_conventions_survive_a_file():
    plain = get_spec("prs-tiny")
    for spec in available().values():
        back = from_metadata(plain, {KEY: to_metadata(spec)}, where="file")

        assert to_metadata(back) == to_metadata(spec)
        assert (back.name, back.build) == (plain.name, plain.build)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.family}{layout.name}")
def test_every_layouts_conventions_survive_a_file(layout):
    spec = next(spec for name, spec in available().items() if name.startswith(layout.family))
    wanted = with_dark(layout.conventions(spec))

    assert from_metadata(spec, {KEY: to_metadata(wanted)}, where="file") == wanted


def test_a_file_that_says_nothing_changes_nothing():
    spec = get_spec("prs-tiny")

    assert from_metadata(spec, {"network": "prs-tiny"}, where="file") is spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no short JSON object"),
        ("[]", "is no short JSON object"),
        ("{" + " " * 20_000 + "}", "is no short JSON object"),
        ("[" * 9_000, "is no short JSON object"),
        ({"build": "os.system"}, "unknown 'build'"),
        ({"name": "other"}, "unknown 'name'"),
        ({"bgr": 1}, "bgr is 1, wanted true or false"),
        ({"mean": [0, 0]}, "wanted 3 numbers"),
        ({"mean": [0, 0, "0"]}, "mean is '0', wanted a number"),
        ({"std": [1, 1, 0]}, "std is 0, wanted 1e-06 to 1000"),
        ({"input_hw": [1e9, 1e9]}, "input_hw is 1000000000.0, wanted a whole number"),
        ({"input_hw": [100_000, 64]}, "input_hw is 100000, wanted 32 to 2048"),
        ({"input_hw": [10**400, 64]}, "wanted 32 to 2048"),
        ({"mean": [10**400, 0, 0]}, "wanted -1000 to 1000"),
        ('{"mean": [Infinity, 0, 0]}', "mean is inf, wanted -1000 to 1000"),
        ({"margin": [0.1, 1]}, "margin is 0.1, wanted 0.5 to 4"),
        ({"margin": [True, 1]}, "margin is True, wanted a number"),
        ({"codec": []}, "codec is"),
        ({"codec": {"stride": 0}}, "stride is 0"),
        ({"codec": {"stride": 4.5}}, "stride is 4.5, wanted a whole number"),
        ({"codec": {"subpixel": "__class__"}}, "unknown subpixel method"),
        ({"codec": {"blur": 4}}, "odd number"),
        ({"codec": {"blur": 10**9 + 1}}, "wanted 0 to 99"),
        ({"codec": {"peak": -1}}, r"peak is -1, wanted 1e-06 to 1e\+06"),
        ({"codec": {"peak": None}}, "peak is None, wanted a number"),
        ({"codec": {"offset": "0"}}, "offset is '0', wanted a number"),
        ({"codec": {"secret": 1}}, "unknown 'secret'"),
        ('{"mean": [NaN, 0, 0]}', "mean is nan, wanted a number"),
    ],
)
def test_strange_metadata_are_refused_by_field(text, message):
    text = text if isinstance(text, str) else json.dumps(text)

    with pytest.raises(WeightsError, match=message):
        from_metadata(get_spec("prs-tiny"), {KEY: text}, where="file")
