import subprocess
import sys

from click.testing import CliRunner

import clips
from posecli.cli import main


def render(*arguments):
    return CliRunner().invoke(main, ["render", *map(str, arguments)])


def test_saved_people_are_drawn_beside_their_file(posecli, tmp_path):
    path = clips.write_clip(tmp_path / "a.mp4")
    assert posecli("infer", path, "--no-overlay", "-o", tmp_path / "out").exit_code == 0

    result = render(path, tmp_path / "out" / "a.coco.json", "--labels", "score", "--overlay-codec", "mjpeg")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "a.overlay.mp4").exists()
    assert "12 frames, 24 people: " in result.output


def test_a_file_of_another_video_is_refused_with_4(posecli, tmp_path):
    posecli("infer", clips.write_clip(tmp_path / "a.mp4"), "--no-overlay", "-o", tmp_path / "out")
    other = clips.write_clip(tmp_path / "b.mp4", pts=range(20))

    result = render(other, tmp_path / "out" / "a.coco.json")

    assert result.exit_code == 4
    assert "it is about another" in result.output
    assert render(other, tmp_path / "no.json").exit_code == 4
    assert render(other, tmp_path / "out" / "a.coco.json", "--labels", "all").exit_code == 2


def test_no_network_is_loaded(examples):
    code = (
        "import sys; from posecli.cli.render import render; from posecli.engines import redraw; "
        "print([name for name in sys.modules if name.startswith(('posecli.networks', 'posecli.pipeline'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
