"""What the GPU's script can do without one."""

import sys

import pytest
import torch
from click.testing import CliRunner


@pytest.fixture
def script(examples, monkeypatch):
    monkeypatch.syspath_prepend(str(examples))
    monkeypatch.delitem(sys.modules, "gpu_check", raising=False)
    import gpu_check

    return gpu_check


def person(image_id, *, left):
    return {"image_id": image_id, "keypoints": [value for _ in range(17) for value in (left, 50.0, 0.9)]}


def test_without_a_gpu_it_says_so_in_a_line(script, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("has a GPU")

    result = CliRunner().invoke(script.main, ["-o", str(tmp_path / "report.md")])

    assert result.exit_code == 6
    assert result.stderr.startswith("no CUDA device: torch ")
    assert result.stderr.endswith("; --dry-run tries this script without one\n")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "report.md").exists()


def test_agreement_counts_people_without_a_partner_and_measures_the_others(script):
    one = [person(1, left=10.0), person(1, left=200.0), person(2, left=10.0)]
    other = [person(1, left=200.5), person(1, left=13.0), person(3, left=10.0)]

    assert script.agreement(one, one) == {"people": 1.0, "within_1px": 1.0, "median_px": 0.0}
    found = script.agreement(one, other)
    assert (found["people"], found["within_1px"]) == (pytest.approx(4 / 6), pytest.approx(0.5))
    assert script.agreement(one, []) == {"people": 0.0, "within_1px": 0.0, "median_px": float("inf")}


def test_a_failed_step_is_in_the_report_with_its_last_words(script, tmp_path):
    report = script.Report(tmp_path / "report.md")

    assert report.run([sys.executable, "-c", "print(1)"]) == "1\n"
    assert report.run([sys.executable, "-c", "raise SystemExit('no such thing')"]) is None

    assert report.failures == 1
    assert "no such thing" in (tmp_path / "report.md").read_text()


def test_a_clip_is_repeated(script, examples, tmp_path):
    av = pytest.importorskip("av")

    path = script.repeat_clip(examples / "walkers.mp4", tmp_path / "long.mp4", times=2, size_wh=(64, 48))

    with av.open(str(examples / "walkers.mp4")) as clip, av.open(str(path)) as repeated:
        assert sum(1 for _ in repeated.decode(video=0)) == 2 * sum(1 for _ in clip.decode(video=0))


class Halves(torch.nn.Module):
    """A convolution, behind a tuple as a refiner's; compiled, or where it is told to, it fails."""

    def __init__(self, fails=False):
        super().__init__()
        self.convolution, self.fails = torch.nn.Conv2d(3, 17, 4, stride=4), fails

    def forward(self, images):
        if self.fails and images.dtype == torch.bfloat16:
            raise RuntimeError("no such kernel\nwith a long story")
        return (self.convolution(images),)


def test_each_way_has_a_row_or_a_reason(script):
    skipped = set()

    eager, half = script._in_each_way(Halves(), (2, 3, 16, 12), "cpu", skipped)

    assert (eager["way"], eager["off"], eager["times as fast"]) == ("eager", 0, 1)
    assert (half["way"], half["off"]) == ("half weights", pytest.approx(0.005, abs=0.005))
    assert half["off"] > 0
    assert half["ms"] == pytest.approx(2 * half["ms an item"])
    assert dict(skipped) == {
        "CUDA graph": "wants a CUDA device", "torch.compile": "a dry run does not wait for a compiler",
    }  # fmt: skip


def test_a_way_that_fails_is_left_out_with_its_words(script):
    skipped = set()

    (eager,) = script._in_each_way(Halves(fails=True), (2, 3, 16, 12), "cpu", skipped)

    assert eager["way"] == "eager"
    assert ("half weights", "RuntimeError: no such kernel") in skipped
