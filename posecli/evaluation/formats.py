"""Ground truths of other public data sets, brought into the shape of a COCO dataset.

| format | file | keypoints | people's area, for OKS |
| --- | --- | --- | --- |
| coco | `images`, `annotations`, `categories`; OCHuman's COCO files, too | 17 | the file's |
| ochuman | `ochuman.json`: `keypoint_names`, `images[].annotations[]` xyxy boxes, `max_iou` | 17 of its 19 | box |
| crowdpose | COCO's shape with 14 keypoints and `images[].crowdIndex` | 14 | .53 x box, as its own tool has it |
| aic | a list of `image_id`, `human_annotations`, `keypoint_annotations` | 14 | box, as its own tool has it |
| mpii | a list of `image`, `joints`, `joints_vis`, `center`, `scale`, a person each (HRNet) | 16 | .53 x joints' box |

Image ids are integers here. OCHuman's, AIC's and MPII's are texts or file names: where all of a file's are digits,
their number is the id, else the images count from 1 in the file's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from posecli.errors import InputError
from posecli.evaluation.layouts import AIC, COCO, CROWDPOSE, LAYOUTS, MPII, Layout
from posecli.media.checked_json import Record, checked_object, is_number, number, numbers, shown, text

_AREA_SHARE = 0.53  # of the box that a person fills, in CrowdPose's own evaluation tool
_MPII_UNIT = 200  # pixels of a person's height at scale 1
_HEAD_SHARE = 0.6  # of the head box's diagonal, in PCKh


@dataclass(frozen=True, slots=True)
class Converted:
    """A dataset of COCO's shape, with images and annotations to be checked still."""

    dataset: Record
    layout: Layout
    notes: tuple[str, ...] = ()


def convert(data: object, gt_format: str, name: str) -> Converted:
    """Bring a ground truth into COCO's shape; `data` itself stays as it is.

    Args:
        data: what the file holds.
        gt_format: one of `FORMATS`, or "auto" to tell by the file's shape.
        name: what messages call it.

    Raises:
        InputError: when it is none of these, or not the one asked for.
    """
    return FORMATS[detect(data) if gt_format == "auto" else gt_format](data, name)


def detect(data: object) -> str:
    """Tell a ground truth's format by its shape; what is like none is taken as COCO's, for its checks."""
    if isinstance(data, list):
        keys = set(data[0]) if data and isinstance(data[0], dict) else set()
        return "aic" if "keypoint_annotations" in keys else "mpii" if "joints" in keys else "coco"
    if not isinstance(data, dict):
        return "coco"
    if "keypoint_names" in data and "keypoint_visible" in data:
        return "ochuman"
    images = data.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return "crowdpose" if isinstance(first, dict) and "crowdIndex" in first else "coco"


def _from_coco(data: object, name: str) -> Converted:
    dataset = _dataset(data, name)
    return Converted(dataset, _named_layout(dataset) or COCO)


def _from_crowdpose(data: object, name: str) -> Converted:
    dataset = _dataset(data, name)
    for index, value in enumerate(dataset["images"]):
        where = f"{name}: images[{index}]"
        if not 0 <= number(checked_object(value, where), "crowdIndex", where) <= 1:
            raise InputError(f"{where}: crowdIndex is {shown(value['crowdIndex'])}, wanted 0 to 1")
    annotations = [
        value | {"area": _AREA_SHARE * value["bbox"][2] * value["bbox"][3]} if _has_box(value) else value
        for value in dataset["annotations"]
    ]
    note = f"{name}: CrowdPose; area is {_AREA_SHARE} x box width x height, as in its own evaluation tool"
    return Converted({**dataset, "annotations": annotations}, CROWDPOSE, (note,))


def _from_ochuman(data: object, name: str) -> Converted:
    dataset = checked_object(data, name)
    places = _ochuman_places(dataset, name)
    images = [checked_object(value, f"{name}: images[{i}]") for i, value in enumerate(_list(dataset, "images", name))]
    ids = _image_ids([str(image.get("image_id", "")) for image in images])
    annotations: list[Record] = []
    for index, image in enumerate(images):
        for number_, value in enumerate(_list(image, "annotations", f"{name}: images[{index}]")):
            where = f"{name}: images[{index}].annotations[{number_}]"
            person = checked_object(value, where)
            left, top, right, bottom = numbers(person, "bbox", 4, where, layout="left, top, right, bottom")
            record = _person(len(annotations) + 1, ids[index], [left, top, right - left, bottom - top])
            record["max_iou"] = number(person, "max_iou", where)
            if person.get("keypoints") is not None:
                layout = f"x, y and visibility of {len(dataset['keypoint_names'])} keypoints"
                flat = numbers(person, "keypoints", 3 * len(dataset["keypoint_names"]), where, layout=layout)
                record["keypoints"] = [value for place in places for value in _ochuman_point(flat, place)]
            annotations.append(_counted(record))
    kept = [{**image, "id": ids[index]} for index, image in enumerate(images)]
    note = f"{name}: OCHuman; the top of the head and the neck are left out, area is the box's, as in its own tool"
    return Converted({"images": kept, "annotations": annotations, "categories": _categories(COCO)}, COCO, (note,))


def _from_aic(data: object, name: str) -> Converted:
    entries = _entries(data, name)
    keys = [text(entry, "image_id", f"{name}: [{index}]") for index, entry in enumerate(entries)]
    ids = _image_ids(keys)
    annotations: list[Record] = []
    for index, entry in enumerate(entries):
        boxes = checked_object(entry.get("human_annotations"), f"{name}: [{index}].human_annotations")
        people = checked_object(entry.get("keypoint_annotations"), f"{name}: [{index}].keypoint_annotations")
        for key in people:
            where = f"{name}: [{index}]"
            left, top, right, bottom = numbers(boxes, key, 4, where, layout="left, top, right, bottom")
            flat = numbers(people, key, 3 * len(AIC), where, layout="x, y and 1, 2 or 3 of 14 keypoints")
            record = _person(len(annotations) + 1, ids[index], [left, top, right - left, bottom - top])
            record["keypoints"] = [value for place in range(len(AIC)) for value in _aic_point(flat, place)]
            annotations.append(_counted(record))
    images = [{"id": ids[index], "file_name": f"{key}.jpg"} for index, key in enumerate(keys)]
    note = f"{name}: AI Challenger; hidden keypoints count as in COCO, which its own tool leaves out"
    return Converted({"images": images, "annotations": annotations, "categories": _categories(AIC)}, AIC, (note,))


def _from_mpii(data: object, name: str) -> Converted:
    entries = _entries(data, name)
    files = [text(entry, "image", f"{name}: [{index}]") for index, entry in enumerate(entries)]
    unique = list(dict.fromkeys(files))
    id_of = dict(zip(unique, _image_ids([PurePosixPath(file).stem for file in unique]), strict=True))
    annotations: list[Record] = []
    boxed_heads = 0
    for index, entry in enumerate(entries):
        where = f"{name}: [{index}]"
        record = _mpii_person(entry, where)
        boxed_heads += "head_box" in entry
        annotations.append(_counted({**record, "id": index + 1, "image_id": id_of[files[index]]}))
    notes = [f"{name}: MPII; it defines no OKS, so AP and AR are only for comparing runs of posecli"]
    if boxed_heads < len(entries):
        notes.append(
            f"{name}: {len(entries) - boxed_heads} people have no head_box; the distance from upper neck to head top "
            "stands for PCKh's head size, so that PCKh is not the official one"
        )
    images = [{"id": id_of[file], "file_name": file} for file in unique]
    dataset = {"images": images, "annotations": annotations, "categories": _categories(MPII)}
    return Converted(dataset, MPII, tuple(notes))


FORMATS: dict[str, Callable[[object, str], Converted]] = {
    "coco": _from_coco,
    "ochuman": _from_ochuman,
    "crowdpose": _from_crowdpose,
    "aic": _from_aic,
    "mpii": _from_mpii,
}


def _categories(layout: Layout) -> list[Record]:
    return [{"id": 1, "name": "person", "keypoints": list(layout.keypoints)}]


def _dataset(data: object, name: str) -> Record:
    if isinstance(data, list):
        raise InputError(f"{name}: a list, wanted a COCO dataset with images and annotations; results go to --pred")
    dataset = checked_object(data, name)
    for key in ("images", "annotations"):
        if not isinstance(dataset.get(key), list):
            raise InputError(f"{name}: no list of {key}, wanted a COCO dataset with images and annotations")
    return dataset


def _named_layout(dataset: Record) -> Layout | None:
    """Return the layout whose names the person category has, in any public spelling; None: no known names."""
    categories = dataset.get("categories")
    for category in categories if isinstance(categories, list) else ():
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and category.get("name") == "person":
            return next((layout for layout in LAYOUTS if list(layout.keypoints) == names), None)
    return None


def _entries(data: object, name: str) -> list[Record]:
    if not isinstance(data, list):
        raise InputError(f"{name}: {shown(data)}, wanted a list of people or images")
    return [checked_object(value, f"{name}: [{index}]") for index, value in enumerate(data)]


def _list(record: Record, key: str, where: str) -> list[object]:
    value = record.get(key)
    if not isinstance(value, list):
        raise InputError(f"{where}: {key} is {shown(value)}, wanted a list")
    return value


def _has_box(value: object) -> bool:
    bbox = value.get("bbox") if isinstance(value, dict) else None
    return isinstance(bbox, list) and len(bbox) == 4 and all(map(is_number, bbox))


def _image_ids(keys: Sequence[str]) -> list[int]:
    """Return the number that every key is, if they all are and differ; else count from 1."""
    if all(key.isascii() and key.isdigit() and len(key) < 19 for key in keys):
        ids = list(map(int, keys))
        if len(set(ids)) == len(ids):
            return ids
    return list(range(1, len(keys) + 1))


def _person(annotation_id: int, image_id: int, bbox: list[float]) -> Record:
    """Return an annotation without keypoints, as large as its box."""
    area = max(0.0, bbox[2]) * max(0.0, bbox[3])
    return {
        "id": annotation_id, "image_id": image_id, "category_id": 1, "bbox": bbox, "area": area, "iscrowd": 0,
        "keypoints": [], "num_keypoints": 0,
    }  # fmt: skip


def _counted(record: Record) -> Record:
    return record | {"num_keypoints": sum(visibility > 0 for visibility in record["keypoints"][2::3])}


def _ochuman_places(dataset: Record, name: str) -> list[int]:
    """Return where each of COCO's keypoints is among OCHuman's."""
    names = dataset.get("keypoint_names")
    if not isinstance(names, list) or (missing := [key for key in COCO.keypoints if key not in names]):
        what = f"no {missing[0]}" if isinstance(names, list) else shown(names)
        raise InputError(f"{name}: keypoint_names has {what}, wanted OCHuman's 19 names")
    return [names.index(key) for key in COCO.keypoints]


def _ochuman_point(flat: Sequence[float], place: int) -> tuple[float, float, int]:
    """Return x, y, v: OCHuman's 1 seen, 2 hidden by oneself, 3 by others are COCO's 2, 2, 1, as its own tool has it."""
    x, y, state = flat[3 * place : 3 * place + 3]
    v = {1: 2, 2: 2, 3: 1}.get(int(state), 0)
    return (x, y, v) if v else (0.0, 0.0, 0)


def _aic_point(flat: Sequence[float], place: int) -> tuple[float, float, int]:
    """Return x, y, v: AIC's 1 seen, 2 hidden, 3 not in the picture are COCO's 2, 1, 0."""
    x, y, state = flat[3 * place : 3 * place + 3]
    v = {1: 2, 2: 1}.get(int(state), 0)
    return (x, y, v) if v else (0.0, 0.0, 0)


def _mpii_person(entry: Record, where: str) -> Record:
    """Return one person; MPII's coordinates count from 1, its scale is the person's height / 200 px."""
    joints, states = _list(entry, "joints", where), _list(entry, "joints_vis", where)
    if len(joints) != len(MPII) or len(states) != len(MPII):
        raise InputError(f"{where}: {len(joints)} joints and {len(states)} joints_vis, wanted {len(MPII)} each")
    layout = "x, y"
    points = [
        numbers({"joints": joint}, "joints", 2, f"{where}: joint {index}", layout=layout)
        for index, joint in enumerate(joints)
    ]
    if bad := next((state for state in states if state not in (0, 1)), None):
        raise InputError(f"{where}: joints_vis has {shown(bad)}, wanted 0 or 1")
    keypoints = [
        value
        for (x, y), state in zip(points, states, strict=True)
        for value in ((x - 1, y - 1, 2) if state else (0.0, 0.0, 0))
    ]
    center_x, center_y = numbers(entry, "center", 2, where, layout=layout)
    side = number(entry, "scale", where) * _MPII_UNIT
    if side <= 0:
        raise InputError(f"{where}: scale is {entry['scale']}, wanted a person's height / {_MPII_UNIT} px, above 0")
    record = _person(0, 0, [center_x - 1 - side / 2, center_y - 1 - side / 2, side, side])
    seen = [point for point, state in zip(points, states, strict=True) if state]
    return record | {
        "keypoints": keypoints,
        "area": _AREA_SHARE * _extent(x for x, _ in seen) * _extent(y for _, y in seen),
        "head_size": _head_size(entry, points, states, where),
    }


def _extent(values: Iterable[float]) -> float:
    listed = list(values)
    return max(listed) - min(listed) if listed else 0.0


def _head_size(entry: Record, points: Sequence[Sequence[float]], states: Sequence[object], where: str) -> float:
    """Return PCKh's unit: .6 x the head box's diagonal, or the distance from upper neck to head top; 0: not known."""
    if "head_box" in entry:
        left, top, right, bottom = numbers(entry, "head_box", 4, where, layout="left, top, right, bottom")
        return _HEAD_SHARE * math.hypot(right - left, bottom - top)
    neck, top_of_head = MPII.keypoints.index("upper_neck"), MPII.keypoints.index("head_top")
    if not states[neck] or not states[top_of_head]:
        return 0.0
    return math.dist(points[neck], points[top_of_head])
