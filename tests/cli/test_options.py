"""The shared options: what reaches the configuration, and who wins."""

from __future__ import annotations

from dataclasses import asdict, fields

import click
import pytest
from click.testing import CliRunner

from posecli.cli._options import pipeline_options
from posecli.config import QUALITIES, DetectConfig, FilterConfig, MergeConfig, PipelineConfig, RefineConfig
from posecli.errors import ConfigError


def configured(*arguments, options=None):
    """What a command that has the options is called with; or what it says and how it ends."""
    seen = {}

    @click.command()
    @(options or pipeline_options(min_score=0.0))
    def command(config, loading):
        seen.update(config=config, loading=loading)

    outcome = CliRunner().invoke(command, arguments)
    return seen.get("config"), outcome


def flat(config):
    return {name: value for part in ("detect", "filtering", "refine", "merge") for name, value in part_of(config, part)}


def part_of(config, part):
    return asdict(getattr(config, part)).items()


def test_without_options_everything_is_the_configurations_default():
    config, _ = configured()

    assert config == PipelineConfig()


def test_a_command_may_have_defaults_of_its_own():
    own = {"min_score": 0.3, "min_box_score": 0.4}

    config, _ = configured(options=pipeline_options(**own, precision="auto"))

    assert flat(config) == flat(PipelineConfig()) | own
    assert config.precision == "auto"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--refiner", "a+b", "--posefix", "c"], {"refiner": "a+b", "posefix": "c"}),
        (["--scales", "1,1.2", "--rotations=-20,0,20"], {"scales": (1.0, 1.2), "rotations": (-20.0, 0.0, 20.0)}),
        (
            ["--subpixel", "dark", "--blur", "11", "--blur-sigma", "2"],
            {"subpixel": "dark", "blur": 11, "blur_sigma": 2},
        ),
        (["--flip-test", "--flip-shift", "0.75"], {"flip_test": True, "flip_shift": 0.75}),
        (["--no-filter", "--max-box-iou", "0.6"], {"filter": False, "max_box_iou": 0.6}),
        (["--pose-nms", "soft", "--soft-nms-sigma", "0.5"], {"pose_nms": "soft", "soft_nms_sigma": 0.5}),
        (["--pose-score", "mean", "--max-oks", "0.8"], {"pose_score": "mean", "max_oks": 0.8}),
        (["--pose-share", "0.5", "--min-keypoint-score", "0.2"], {"pose_share": 0.5, "min_keypoint_score": 0.2}),
    ],
    ids=str,
)
def test_options_fill_the_fields_of_their_names(arguments, expected):
    config, _ = configured(*arguments)

    changed = {name: value for name, value in flat(config).items() if value != flat(PipelineConfig())[name]}
    assert changed == expected


@pytest.mark.parametrize("name", QUALITIES)
def test_a_preset_sets_its_fields_and_its_name_and_nothing_else(name):
    config, _ = configured("--quality", name)

    assert config.quality == name
    assert flat(config) == flat(PipelineConfig()) | QUALITIES[name]


def test_an_option_wins_over_the_preset_even_with_the_default_value():
    default = DetectConfig.detector_size
    assert QUALITIES["fast"]["detector_size"] != default

    config, _ = configured("--quality", "fast", "--detector-size", str(default), "--pose-nms", "soft")

    assert config == PipelineConfig(quality="fast", merge=MergeConfig(pose_nms="soft"))


@pytest.mark.parametrize("preset", QUALITIES.values(), ids=list(QUALITIES))
def test_presets_name_fields_that_have_options(preset):
    stages = (DetectConfig, FilterConfig, RefineConfig, MergeConfig)

    assert set(preset) <= {item.name for stage in stages for item in fields(stage)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scales", "1,b"], "'1,b' is not a list of numbers"),
        (["--flip-shift", "2"], "0<=x<=1"),
        (["--subpixel", "best"], "'best' is not one of"),
        (["--quality", "great"], "'great' is not one of"),
        (["--weights", "mine"], "wanted NAME=FILE"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_name(arguments, message):
    _, outcome = configured(*arguments)

    assert outcome.exit_code != 0
    assert message in outcome.output + str(outcome.exception)


def test_a_preset_that_does_not_exist_is_refused_in_python_too():
    with pytest.raises(ConfigError, match="unknown quality 'great'; choose from fast, balanced, best"):
        PipelineConfig(quality="great")


def test_help_says_what_the_presets_are():
    _, outcome = configured("--help")

    text = " ".join(outcome.output.split())
    assert "best: --flip-test" in text
    assert "balanced: the defaults" in text
