import csv
import json
import sys

import pytest
import torch

from posecli.config import MergeConfig
from posecli.errors import ConfigError
from posecli.media.coco import frame_entry
from posecli.media.tables import COLUMNS, StdoutSink, check_formats, table_sinks
from posecli.records import Annotated, Frame, Poses


def annotated(index, count, status="ok"):
    points = torch.arange(count * 34, dtype=torch.float32).reshape(count, 17, 2)
    boxes = torch.tensor([[1.0, 2, 11.5, 22]]).repeat(count, 1)
    poses = Poses(boxes, points, torch.full((count, 17), 0.5), torch.full((count,), 0.75), ("proposal",) * count)
    image = torch.zeros(48, 64, 3, dtype=torch.uint8) if status == "ok" else None
    return Annotated(Frame(index, image, 64, 48, f'wälk,"{index}".png', index * 40, index / 25, status), poses, count)


FRAMES = (annotated(0, 2), annotated(5, 0, "decode_error"), annotated(10, 1))


def write(directory, name):
    (kind,) = table_sinks([name])
    sink = kind(directory, "walk", {"version": "0"}, MergeConfig())
    for frame in FRAMES:
        sink.write(frame_entry(frame))
    (path,) = sink.finish()
    assert list(directory.iterdir()) == [path]
    assert path.name == f"walk{kind.suffixes[0]}"
    return path


def test_lines_have_every_frame_and_its_people(tmp_path):
    lines = [json.loads(line) for line in write(tmp_path, "jsonl").read_text("utf-8").splitlines()]

    assert [(line["image_id"], line["frame_index"], len(line["people"])) for line in lines] == [
        (1, 0, 2),
        (2, 5, 0),
        (3, 10, 1),
    ]
    assert lines[1]["status"] == "decode_error"
    assert lines[2]["time"] == 0.4
    assert lines[0]["people"][1]["keypoints"][:3] == [34.0, 35.0, 0.5]


def test_a_csv_has_a_row_a_person_and_one_for_a_frame_with_nobody(tmp_path):
    with write(tmp_path, "csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert tuple(rows[0]) == COLUMNS
    assert [(row["image_id"], row["person"]) for row in rows] == [("1", "1"), ("1", "2"), ("2", ""), ("3", "1")]
    assert rows[0]["file_name"] == 'wälk,"0".png'
    assert (rows[1]["nose_x"], rows[1]["right_ankle_y"], rows[1]["bbox_width"]) == ("34.0", "67.0", "10.5")
    assert rows[2]["nose_x"] == rows[2]["score"] == ""


def test_parquet_has_the_same_rows_with_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow, of posecli[parquet], is not installed")

    table = parquet.read_table(write(tmp_path, "parquet"))

    assert tuple(table.column_names) == COLUMNS
    assert table["image_id"].to_pylist() == [1, 1, 2, 3]
    assert table["nose_x"].to_pylist() == [0.0, 34.0, None, 0.0]
    assert table["file_name"].to_pylist()[3] == 'wälk,"10".png'
    assert str(table.schema.field("frame_index").type) == "int64"
    assert json.loads(table.schema.metadata[b"posecli"]) == {"version": "0"}


def test_parquet_grows_by_groups_not_in_memory(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow, of posecli[parquet], is not installed")
    monkeypatch.setattr("posecli.media.tables._BATCH_ROWS", 2)

    assert parquet.ParquetFile(write(tmp_path, "parquet")).num_row_groups == 2


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_an_abort_leaves_nothing(tmp_path, name):
    (kind,) = table_sinks([name])
    sink = kind(tmp_path, "walk", {}, MergeConfig())
    sink.write(frame_entry(FRAMES[0]))
    sink.abort()

    assert not list(tmp_path.iterdir())


def test_without_pyarrow_parquet_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    check_formats(["csv", "jsonl"])
    with pytest.raises(ConfigError, match=r"pip install 'posecli\[parquet\]'"):
        check_formats(["csv", "parquet"])


def test_lines_on_stdout_come_at_once_and_name_their_source(capsys):
    sink = StdoutSink("https://host/walk.mp4")
    sink.write(FRAMES[0])

    line = json.loads(capsys.readouterr().out)

    assert (line["source"], line["image_id"], len(line["people"])) == ("https://host/walk.mp4", 1, 2)
    assert sink.finish() == []
