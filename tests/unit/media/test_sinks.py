import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

import clips
from posecli.errors import InputError
from posecli.media import sinks
from posecli.media.journal import Journal, read_journal
from posecli.media.sinks import CocoSink, overlay_sink, write_json_atomically
from posecli.media.sources import open_source
from posecli.records import Annotated, Frame, Poses, Rejection
from posecli.skeleton import KEYPOINTS

VFR = [*range(0, 300, 10), *range(300, 900, 30), 901, 977]
COUNTS = {"decoded_frames": 3, "header_frames": 4}


def people(count):
    points = torch.rand(count, 17, 2) * 40
    scores = torch.linspace(0, 1, 17).repeat(count, 1)
    boxes = torch.tensor([[1.04, 2, 11.5, 22]]).repeat(count, 1)
    return Poses(boxes, points, scores, torch.full((count,), 0.98765), ("proposal",) * count)


def annotated(index, count, *, status="ok"):
    image = torch.full((48, 64, 3), 90, dtype=torch.uint8) if status == "ok" else None
    frame = Frame(index, image, 64, 48, f"walk_{index:06d}.png", index * 40, index / 25, status)
    return Annotated(frame, people(count), count, (Rejection((0, 0, 5, 6), 0.3, "same_pose", 4),))


def write_three(directory, **options):
    sink = CocoSink(directory, "walk", {"version": "0", "rotation": 90}, **options)
    for index, count in enumerate((2, 0, 1)):
        sink.write(annotated(index, count, status="decode_error" if index == 1 else "ok"))
    return sink


def overlay(path, directory):
    with open_source(path) as source:
        sink = overlay_sink(directory, source)
        stamps = []
        for frame in source:
            stamps.append(frame.time_s)
            sink.write(Annotated(frame, Poses.empty(), 0))
        (written,) = sink.finish(COUNTS)
    return written, stamps


def packets(path, kind):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(getattr(container.streams, kind)) if packet.size]


def test_the_dataset_lists_every_frame_and_loads_in_pycocotools(tmp_path, capsys):
    dataset, results = write_three(tmp_path).finish(COUNTS)

    truth = COCO(str(dataset))
    assert truth.dataset["info"] == {"version": "0", "rotation": 90, **COUNTS}
    assert [image["id"] for image in truth.dataset["images"]] == [1, 2, 3]
    assert [image["status"] for image in truth.dataset["images"]] == ["ok", "decode_error", "ok"]
    assert [(a["id"], a["image_id"]) for a in truth.dataset["annotations"]] == [(1, 1), (2, 1), (3, 3)]
    assert truth.dataset["categories"][0]["keypoints"] == list(KEYPOINTS)
    assert truth.dataset["categories"][0]["skeleton"][0] == [16, 14]
    assert len(truth.loadRes(str(results)).dataset["annotations"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.coco.json", "walk.results.json"]


def test_visibility_is_whole_and_counts_agree(tmp_path):
    dataset, _ = write_three(tmp_path).finish(COUNTS)

    for annotation in json.loads(dataset.read_text())["annotations"]:
        x, y, v = (annotation["keypoints"][start::3] for start in range(3))
        scores = annotation["attributes"]["keypoint_scores"]
        assert v == [2 if score >= 0.6 else 1 if score >= 0.4 else 0 for score in scores]
        assert all(type(value) is int for value in v)
        assert annotation["num_keypoints"] == sum(value > 0 for value in v)
        assert all((x[k], y[k]) == (0, 0) for k in range(17) if not v[k])
        assert annotation["bbox"] == [1.0, 2.0, 10.5, 20.0]
        assert annotation["area"] == 210
        assert annotation["score"] == 0.988
        assert annotation["iscrowd"] == 0


def test_results_have_no_box_and_rounded_numbers(tmp_path):
    _, results = write_three(tmp_path).finish(COUNTS)

    poses = json.loads(results.read_text())

    assert {tuple(pose) for pose in poses} == {("image_id", "category_id", "keypoints", "score")}
    assert all(value == round(value, 3) for pose in poses for value in pose["keypoints"])
    assert all(value == round(value, 1) for pose in poses for value in pose["keypoints"][::3])


def test_a_source_without_people_gives_whole_files(tmp_path):
    sink = CocoSink(tmp_path, "empty", {})
    sink.write(annotated(0, 0))
    dataset, results = sink.finish(COUNTS)

    assert json.loads(results.read_text()) == []
    assert len(json.loads(dataset.read_text())["images"]) == 1


def test_rejections_are_written_on_request(tmp_path):
    dataset, _ = write_three(tmp_path, explain=True).finish(COUNTS)

    rejection = json.loads(dataset.read_text())["images"][0]["rejections"][0]
    assert (rejection["reason"], rejection["bbox"], rejection["box_score"]) == ("same_pose", [0, 0, 5, 6], 0.3)


def test_an_abort_keeps_the_journal_and_the_files_of_an_earlier_run(tmp_path):
    (tmp_path / "walk.coco.json").write_text("old")

    write_three(tmp_path).abort()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.coco.json", "walk.jsonl"]
    assert (tmp_path / "walk.coco.json").read_text() == "old"
    assert [entry["frame_index"] for entry in read_journal(tmp_path / "walk.jsonl")[1]] == [0, 1, 2]


def test_a_failure_while_finishing_leaves_the_old_file_and_the_journal(tmp_path, monkeypatch):
    (tmp_path / "walk.coco.json").write_text("old")
    sink = write_three(tmp_path)

    def fill_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sinks.os, "fsync", fill_disk)
    with pytest.raises(OSError, match="No space"):
        sink.finish(COUNTS)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.coco.json", "walk.jsonl"]
    assert (tmp_path / "walk.coco.json").read_text() == "old"


def test_every_journal_line_is_on_disk_at_once_and_a_torn_one_is_left_out(tmp_path):
    journal = Journal(tmp_path / "a.jsonl", {"info": {}})
    journal.append({"frame_index": 0, "name": "写"})
    before_close = (tmp_path / "a.jsonl").read_text("utf-8")
    journal.close()
    (tmp_path / "a.jsonl").write_text(before_close + '{"frame_index": 1, "na', "utf-8")

    header, entries = read_journal(tmp_path / "a.jsonl")

    assert header == {"info": {}}
    assert list(entries) == [{"frame_index": 0, "name": "写"}]


def test_a_damaged_journal_names_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"info": {}}\n{"frame\n{"frame_index": 1}\n')

    with pytest.raises(InputError, match=r"a\.jsonl: line 2 is not JSON"):
        list(read_journal(tmp_path / "a.jsonl")[1])


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.json"
    write_json_atomically(path, {"name": "写"})

    with pytest.raises(ValueError, match="JSON"):
        write_json_atomically(path, {"score": float("nan")})

    assert json.loads(path.read_text("utf-8")) == {"name": "写"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_overlay_keeps_every_time_stamp_and_copies_the_sound(tmp_path):
    path = clips.write_clip(tmp_path / "walk.mkv", pts=VFR, time_base=Fraction(1, 1000), audio="aac")

    written, stamps = overlay(path, tmp_path / ".")

    assert written.name == "walk.overlay.mp4"
    with open_source(written) as source:
        assert [frame.time_s for frame in source] == stamps
    assert packets(written, "audio") == packets(path, "audio")
    head = written.read_bytes()
    assert 0 < head.find(b"moov") < head.find(b"mdat")  # faststart: players begin before the whole file is there
    with av.open(str(written)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert not [name for name in tmp_path.iterdir() if name.name.startswith(".")]


def test_sound_and_pictures_alternate(tmp_path):
    path = clips.write_clip(tmp_path / "a.mkv", pts=range(50), audio="aac")

    written, _ = overlay(path, tmp_path)

    with av.open(str(written)) as container:
        kinds = "".join(packet.stream.type[0] for packet in container.demux() if packet.size)
    assert "v" * 15 not in kinds.removeprefix("v" * 15)
    assert "a" in kinds[:20]


@pytest.mark.parametrize(("suffix", "video"), [(".avi", "mpeg4"), (".mkv", "libx264")])
def test_sound_that_mp4_cannot_carry_becomes_aac(tmp_path, suffix, video):
    path = clips.write_clip(tmp_path / f"a{suffix}", codec=video, audio="pcm_s16le")

    written, _ = overlay(path, tmp_path)

    with av.open(str(written)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(2, abs=0.1)


def test_a_turned_odd_sized_video_is_upright_and_even_in_its_overlay(tmp_path):
    turned = clips.write_clip(tmp_path / "turned.mp4", turn=(90, False))
    odd = clips.write_clip(tmp_path / "odd.mkv", size_wh=(63, 47), codec="ffv1")

    for path, size_hw in ((turned, (64, 48)), (odd, (48, 64))):
        written, _ = overlay(path, tmp_path)
        with open_source(written) as source, open_source(path) as original:
            first, expected = next(source), next(original).image.numpy()
            assert (source.rotation, first.image.shape[:2]) == (0, size_hw)
            height, width = expected.shape[:2]
            assert abs(first.image.numpy()[:height, :width].astype(int) - expected).mean() < 12


def test_an_aborted_video_leaves_nothing_and_an_old_one_alone(tmp_path):
    (tmp_path / "in").mkdir()
    path = clips.write_clip(tmp_path / "in" / "a.mp4")
    (tmp_path / "a.overlay.mp4").write_text("old")
    with open_source(path) as source:
        sink = overlay_sink(tmp_path, source)
        for frame in source:
            sink.write(Annotated(frame, Poses.empty(), 0))
        sink.abort()
        sink.abort()

    assert sorted(name.name for name in tmp_path.iterdir()) == ["a.overlay.mp4", "in"]
    assert (tmp_path / "a.overlay.mp4").read_text() == "old"


def test_lost_frames_show_as_the_frame_before(tmp_path):
    with open_source(clips.write_clip(tmp_path / "a.mp4", pts=range(6))) as source:
        sink = overlay_sink(tmp_path, source)
        for frame in source:
            if frame.index == 3:
                frame = Frame(3, None, 64, 48, frame.file_name, frame.pts, frame.time_s, "decode_error")  # noqa: PLW2901
            sink.write(Annotated(frame, Poses.empty(), 0))
        (written,) = sink.finish(COUNTS)

    with open_source(written) as source:
        assert [round(frame.time_s * 25) for frame in source] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "a.overlay.jpg"), ("ü.PNG", "ü.overlay.PNG"), ("a.mp4", "a.overlay.png"), ("a.pgm", "a.overlay.png")],
)
def test_an_image_overlay_has_its_sources_format(tmp_path, name, expected):
    suffix = ".jpg" if name.endswith("jpg") else ".png"
    (tmp_path / name).write_bytes(cv2.imencode(suffix, np.full((20, 30, 3), 90, np.uint8))[1].tobytes())

    written, _ = overlay(tmp_path / name, tmp_path)

    assert written.name == expected
    assert cv2.imdecode(np.fromfile(written, np.uint8), cv2.IMREAD_COLOR).shape == (20, 30, 3)


def test_a_folders_overlays_keep_their_names(tmp_path):
    for name in ("b/img1.png", "b/img2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(cv2.imencode(name[-4:], np.zeros((20, 30, 3), np.uint8))[1].tobytes())

    written, _ = overlay(tmp_path / "b", tmp_path)

    assert written == tmp_path / "b.overlay"
    assert sorted(path.name for path in written.iterdir()) == ["img1.png", "img2.jpg"]
