"""COCO JSON from records: the only place that knows its words, its xywh boxes and its 1-based skeleton."""

from __future__ import annotations

from typing import Any

import torch

from posecli.config import MergeConfig
from posecli.geometry.boxes import xywh_to_xyxy, xyxy_to_xywh
from posecli.records import Annotated, Frame, Poses, Rejection
from posecli.skeleton import COCO_SKELETON, KEYPOINTS

Entry = dict[str, Any]
_DEFAULTS = MergeConfig()


def categories() -> list[Entry]:
    """Return COCO's person category, with keypoint names and skeleton."""
    return [
        {
            "id": 1,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(KEYPOINTS),
            "skeleton": [list(edge) for edge in COCO_SKELETON],
        }
    ]


def frame_entry(annotated: Annotated, *, explain: bool = False) -> Entry:
    """Return one finished frame as the journal keeps it; the files of a source are made from these.

    Coordinates are rounded to .1 pixel and scores to 3 decimals: finer digits are noise, and triple the size.

    Args:
        annotated: the frame.
        explain: with the rejected proposals.
    """
    frame = annotated.frame
    entry = {
        "frame_index": frame.index,
        "file_name": frame.file_name,
        "width": frame.width,
        "height": frame.height,
        "time": None if frame.time_s is None else round(frame.time_s, 6),
        "pts": frame.pts,
        "status": frame.status,
        "refiner_runs": annotated.refiner_runs,
        "people": people_entries(annotated.poses),
    }
    if explain:
        entry["rejections"] = [
            {
                "bbox": _rounded_box(rejection.box),
                "box_score": round(rejection.box_score, 3),
                "reason": rejection.reason,
                "num_keypoints": rejection.num_keypoints,
            }
            for rejection in annotated.rejections
        ]
    return entry


def _rounded_box(box: tuple[float, float, float, float]) -> list[float]:
    left, top, right, bottom = box
    return [round(value, 1) for value in (left, top, right - left, bottom - top)]


def people_entries(poses: Poses) -> list[Entry]:
    """Return each person's bbox (xywh), keypoints (x, y, score, ...), score and origin, rounded.

    Tracked people have a `track_id`, smoothed ones `raw_keypoints` (x, y, ...), too.
    """
    boxes = xyxy_to_xywh(poses.boxes).tolist()
    origins = poses.origins or ("",) * len(poses)
    rows = zip(
        boxes,
        poses.keypoints.tolist(),
        poses.keypoint_scores.tolist(),
        poses.scores.tolist(),
        origins,
        strict=True,
    )
    entries: list[Entry] = [
        {
            "bbox": [round(value, 1) for value in box],
            "keypoints": [
                value
                for (x, y), keypoint_score in zip(points, keypoint_scores, strict=True)
                for value in (round(x, 1), round(y, 1), round(keypoint_score, 3))
            ],
            "score": round(score, 3),
            "origin": origin,
        }
        for box, points, keypoint_scores, score, origin in rows
    ]
    for entry, track_id in zip(entries, poses.track_ids, strict=False):
        entry["track_id"] = track_id
    if poses.raw_keypoints is not None:
        for entry, raw in zip(entries, poses.raw_keypoints.flatten(1).tolist(), strict=True):
            entry["raw_keypoints"] = [round(value, 1) for value in raw]
    return entries


def people_poses(people: list[Entry]) -> Poses:
    """Return what `people_entries` was made from, as far as rounding left it."""
    if not people:
        return Poses.empty()
    flat = torch.tensor([person["keypoints"] for person in people], dtype=torch.float32).reshape(
        len(people), -1, 3
    )  # (N, K, 3)
    raw = [person["raw_keypoints"] for person in people if "raw_keypoints" in person]
    return Poses(
        boxes=xywh_to_xyxy(torch.tensor([person["bbox"] for person in people], dtype=torch.float32)),
        keypoints=flat[..., :2],
        keypoint_scores=flat[..., 2],
        scores=torch.tensor([person["score"] for person in people], dtype=torch.float32),
        origins=tuple(person["origin"] for person in people),
        track_ids=tuple(person["track_id"] for person in people if "track_id" in person),
        raw_keypoints=torch.tensor(raw, dtype=torch.float32).reshape(len(raw), -1, 2) if raw else None,
    )


def entry_annotated(entry: Entry, frame: Frame) -> Annotated:
    """Return what an entry says of the frame that it was made of."""
    rejections = (
        Rejection(_corners(item["bbox"]), item["box_score"], item["reason"], item["num_keypoints"])
        for item in entry.get("rejections", ())
    )
    return Annotated(frame, people_poses(entry["people"]), entry["refiner_runs"], tuple(rejections))


def _corners(box_xywh: list[float]) -> tuple[float, float, float, float]:
    left, top, width, height = box_xywh
    return left, top, left + width, top + height


def image_entry(entry: Entry, *, image_id: int) -> Entry:
    """Return a frame as an image of a COCO dataset; ids are dense and start at 1, as FiftyOne assumes."""
    names = ("file_name", "width", "height", "frame_index", "time", "pts", "status")
    image = {"id": image_id, **{name: entry[name] for name in names}}
    if "rejections" in entry:
        image["rejections"] = entry["rejections"]
    return image


def annotation_entry(person: Entry, *, annotation_id: int, image_id: int, merge: MergeConfig = _DEFAULTS) -> Entry:
    """Return a person as an annotation of a COCO dataset: whole-numbered `v`, scores beside the keypoints.

    CVAT and Label Studio read the third number as 0, 1 or 2 and fail on, or hide, anything else. A keypoint is 2
    (visible) from `merge.min_visible_score` on, 1 (there, but hidden) from `merge.min_labelled_score` on, else 0 (not
    labelled, x = y = 0); its place and score stay in the results file.
    """
    flat = person["keypoints"]
    keypoints: list[float] = []
    labelled = 0
    for x, y, score in zip(flat[0::3], flat[1::3], flat[2::3], strict=True):
        v = (score >= merge.min_labelled_score) * (1 + (score >= merge.min_visible_score))
        keypoints += (x, y, v) if v else (0, 0, 0)
        labelled += v > 0
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": person["bbox"],
        "area": round(person["bbox"][2] * person["bbox"][3], 1),
        "iscrowd": 0,
        "num_keypoints": labelled,
        "keypoints": keypoints,
        "score": person["score"],
        "attributes": _attributes(person),
    }


def _attributes(person: Entry) -> Entry:
    attributes = {
        "track_id": person.get("track_id"),
        "keypoint_scores": person["keypoints"][2::3],
        "origin": person["origin"],
    }
    if "raw_keypoints" in person:
        attributes["raw_keypoints"] = person["raw_keypoints"]
    return attributes


def result_entry(person: Entry, *, image_id: int) -> Entry:
    """Return a person as an entry of a COCO results list; without bbox, which would change APm and APl."""
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": person["keypoints"],
        "score": person["score"],
    }
