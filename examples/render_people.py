"""Render articulated people with exact COCO keypoints: a short clip, or pictures to train on.

A figure is a 3-D skeleton dressed in round cones (two spheres and the hull between them), traced with parallel rays.
The depth of every pixel is known, so keypoints, visibility and silhouettes are exact. Everything follows from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.skeleton import COCO_SKELETON, KEYPOINTS

Array = NDArray[np.float32]
Paint = Callable[[Array], Array]  # (N, 3) points in the part's frame, body heights -> (N, 3) RGB in [0, 1]

SUPERSAMPLE = 2
SKIN = (
    (0.96, 0.80, 0.69), (0.91, 0.72, 0.58), (0.84, 0.63, 0.48),
    (0.70, 0.49, 0.36), (0.53, 0.36, 0.26), (0.38, 0.25, 0.19),
)  # fmt: skip
HAIR = (
    (0.07, 0.05, 0.04), (0.16, 0.10, 0.07), (0.32, 0.20, 0.11),
    (0.62, 0.46, 0.26), (0.45, 0.18, 0.08), (0.62, 0.61, 0.60),
)  # fmt: skip
TROUSERS = (
    (0.12, 0.16, 0.28), (0.20, 0.28, 0.42), (0.08, 0.08, 0.09),
    (0.35, 0.30, 0.24), (0.30, 0.30, 0.32), (0.62, 0.55, 0.43),
)  # fmt: skip
EYES = ((0.10, 0.06, 0.04), (0.20, 0.30, 0.40), (0.20, 0.25, 0.12))
SIDES = {"left": 1.0, "right": -1.0}

# How far the body's surface may lie in front of a joint's centre while the joint still counts as seen, body heights.
JOINT_DEPTH = {"shoulder": 0.085, "elbow": 0.055, "wrist": 0.045, "hip": 0.115, "knee": 0.075, "ankle": 0.06}
FACE_DEPTH = 0.016
# A facial point is labelled while its outward direction has at least this component towards the camera.
FACE_TURN = {"nose": -0.1, "left_eye": 0.02, "right_eye": 0.02, "left_ear": -0.4, "right_ear": -0.4}


def rot_x(degrees: float) -> Array:
    """Turn about x: positive takes y towards z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def rot_y(degrees: float) -> Array:
    """Turn about y: positive takes z towards x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def rot_z(degrees: float) -> Array:
    """Turn about z: positive takes x towards y."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def vec(x: float, y: float, z: float = 0.0) -> Array:
    """A point, a direction or an RGB colour."""
    return np.array([x, y, z], np.float32)


@dataclass(frozen=True)
class Limb:
    """Angles in degrees of an arm or a leg that hangs straight down at zero."""

    flex: float = 0.0  # forward
    abduct: float = 0.0  # sideways, away from the body
    twist: float = 0.0  # outward about its own axis
    bend: float = 0.0  # elbow forward or knee backward; never negative


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees; yaw 0 faces the camera, 90 the picture's right."""

    yaw: float = 0.0
    lean: float = 0.0  # whole body forward
    roll: float = 0.0  # whole body sideways
    spine: tuple[float, float, float] = (0.0, 0.0, 0.0)  # forward, sideways, twist
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)  # nod, tilt, turn
    arms: dict[str, Limb] = field(default_factory=lambda: {"left": Limb(), "right": Limb()})
    legs: dict[str, Limb] = field(default_factory=lambda: {"left": Limb(), "right": Limb()})
    seat: str = ""  # "", "stool" or "chair"
    air: float = 0.0  # lowest foot above the ground, body heights


@dataclass(frozen=True)
class Body:
    """Proportions; lengths as fractions of the standing height of an average adult."""

    head: float = 1.0
    shoulder: float = 0.1  # half the distance between the shoulder joints
    hip: float = 0.06  # half the distance between the hip joints
    girth: float = 1.0
    belly: float = 0.0
    bust: float = 0.0
    leg: float = 1.0
    arm: float = 1.0


@dataclass(frozen=True)
class Outfit:
    """Colours and garments."""

    skin: Array
    hair: Array
    hair_style: str  # "short", "curly", "long", "bun", "bald", "cap", "tail"
    volume: float  # how much larger than the skull hair is
    top: Paint
    sleeves: Paint
    bottom: Paint
    shoes: Array
    sleeve: float  # fraction of the arm that is covered, 0 to 2: 1 is the elbow
    trouser: float  # fraction of the leg that is covered, 0 to 2: 1 is the knee
    skirt: float  # length in thighs; 0 for none
    hem: float  # how far below the pelvis the top hangs, body heights; 0 if it is tucked in
    loose: float  # how much wider than the body clothes are
    beard: bool
    glasses: str  # "", "clear" or "dark"
    bag: str  # "", "backpack" or "handbag"
    eyes: Array
    cap: Array


@dataclass(frozen=True)
class Part:
    """A round cone in an own, possibly stretched frame."""

    start: Array  # (3,) camera space, body heights
    end: Array
    radii: tuple[float, float]  # at start and end, in the part's frame
    frame: Array  # (3, 3) camera space -> part's frame
    paint: Paint
    cut: tuple[float, float] = (-9.0, 9.0)  # the axial fractions that are kept
    keep: Callable[[Array], NDArray[np.bool_]] | None = None  # which points in the frame exist
    cloth: bool = False
    bare: bool = False  # a limb's skin
    prop: bool = False  # furniture, no part of the person
    shine: float = 0.0


@dataclass
class Skeleton:
    """Camera space (x right, y up, z to the viewer), body heights; the ground under the pelvis is the origin."""

    points: dict[str, Array]
    frames: dict[str, Array]  # columns are the axes: left, up, forward
    up: Array


def spine_points(body: Body, pose: Pose, root: Array) -> Skeleton:
    """Pelvis to head."""
    forward, side, twist = pose.spine
    half = rot_y(twist / 2) @ rot_z(side / 2) @ rot_x(forward / 2)
    waist = root @ half
    chest = waist @ half
    nod, tilt, turn = pose.head
    head = chest @ rot_y(turn) @ rot_z(tilt) @ rot_x(nod)
    points = {"pelvis": vec(0, 0)}
    points["waist"] = root @ vec(0, 0.085)
    points["chest"] = points["waist"] + waist @ vec(0, 0.10)
    points["neck"] = points["chest"] + chest @ vec(0, 0.118)
    points["head"] = points["neck"] + (chest @ vec(0, 0.03, 0.004) + head @ vec(0, 0.01 + 0.064 * body.head, 0.012))
    for name, sign in SIDES.items():
        points[f"{name}_shoulder"] = points["neck"] + chest @ vec(sign * body.shoulder, -0.03)
        points[f"{name}_hip"] = root @ vec(sign * body.hip, 0)
    return Skeleton(points, {"pelvis": root, "waist": waist, "chest": chest, "head": head}, vec(0, 1))


def add_limbs(skeleton: Skeleton, body: Body, pose: Pose) -> None:
    """Arms and legs, and hands and feet."""
    points, frames = skeleton.points, skeleton.frames
    for name, sign in SIDES.items():
        arm, leg = pose.arms[name], pose.legs[name]
        upper = frames["chest"] @ rot_z(sign * arm.abduct) @ rot_x(-arm.flex) @ rot_y(sign * arm.twist)
        lower = upper @ rot_x(-arm.bend)
        thigh = frames["pelvis"] @ rot_z(sign * leg.abduct) @ rot_x(-leg.flex) @ rot_y(sign * leg.twist)
        shin = thigh @ rot_x(leg.bend)
        points[f"{name}_elbow"] = points[f"{name}_shoulder"] + upper @ vec(0, -0.172 * body.arm)
        points[f"{name}_wrist"] = points[f"{name}_elbow"] + lower @ vec(0, -0.148 * body.arm)
        points[f"{name}_knee"] = points[f"{name}_hip"] + thigh @ vec(0, -0.245 * body.leg)
        points[f"{name}_ankle"] = points[f"{name}_knee"] + shin @ vec(0, -0.235 * body.leg)
        frames.update({f"{name}_arm": upper, f"{name}_forearm": lower, f"{name}_thigh": thigh, f"{name}_shin": shin})
        frames[f"{name}_foot"] = foot_frame(shin)


def foot_frame(shin: Array) -> Array:
    """Set a foot flat if the ankle can do that, else bring it as near as it can."""
    pitch = np.degrees(np.arcsin(np.clip(shin[1, 2], -1, 1)))  # of the shin's forward axis above the horizon
    return shin @ rot_x(np.clip(pitch, -25, 40))


def face_points(skeleton: Skeleton, body: Body) -> dict[str, tuple[Array, Array]]:
    """Where facial keypoints are and which way the skin looks there."""
    local = {
        "nose": (vec(0, -0.012, 0.063), vec(0, 0, 1)),
        "left_eye": (vec(0.0185, 0.008, 0.0475), vec(0.34, 0.05, 0.94)),
        "right_eye": (vec(-0.0185, 0.008, 0.0475), vec(-0.34, 0.05, 0.94)),
        "left_ear": (vec(0.051, -0.002, -0.004), vec(1, 0, 0)),
        "right_ear": (vec(-0.051, -0.002, -0.004), vec(-1, 0, 0)),
    }
    frame, centre = skeleton.frames["head"], skeleton.points["head"]
    return {name: (centre + frame @ p * body.head, frame @ n) for name, (p, n) in local.items()}


def build_skeleton(body: Body, pose: Pose, camera_pitch: float) -> Skeleton:
    """Stand the posed body on the ground and turn it into camera space."""
    root = rot_z(pose.roll) @ rot_y(pose.yaw) @ rot_x(pose.lean)
    skeleton = spine_points(body, pose, root)
    add_limbs(skeleton, body, pose)
    points, frames = skeleton.points, skeleton.frames
    lowest = min(float(p[1]) for p in points.values())
    soles = [
        points[f"{n}_ankle"] + frames[f"{n}_foot"] @ v
        for n in SIDES
        for v in (vec(0, -0.043, -0.03), vec(0, -0.045, 0.09))
    ]
    ground = min([float(p[1]) for p in soles] + [lowest - 0.03]) - pose.air
    camera = rot_x(camera_pitch)
    skeleton.points = {name: camera @ (p - vec(0, ground)) for name, p in points.items()}
    skeleton.frames = {name: camera @ f for name, f in frames.items()}
    skeleton.up = camera @ vec(0, 1)
    return skeleton


def plain(tone: Array) -> Paint:
    """One colour all over."""
    return lambda p: np.broadcast_to(tone, p.shape)


@dataclass(frozen=True)
class Bone:
    """A coordinate frame of the body: parts are placed in it and stretched along its axes."""

    origin: Array  # (3,) camera space
    axes: Array  # (3, 3) columns left, up, forward
    scale: float = 1.0

    def at(self, x: float, y: float, z: float = 0.0) -> Array:
        """Bring a point of this frame into camera space."""
        return self.origin + self.axes @ vec(x, y, z) * np.float32(self.scale)

    def cone(self, ends: tuple[Array, Array], radii: tuple[float, float], paint: Paint, **more: Any) -> Part:
        """Make a part between two points of camera space; `stretch` widens it along the axes."""
        stretch = np.asarray(more.pop("stretch", (1, 1, 1)), np.float32)
        return Part(*ends, (radii[0] * self.scale, radii[1] * self.scale), (self.axes / stretch).T, paint, **more)


def hip_parts(skeleton: Skeleton, body: Body, outfit: Outfit) -> Iterator[Part]:
    """Pelvis and belly up to the waist, with the top tucked in or hanging over."""
    waist, g, loose = skeleton.points["waist"], body.girth, 1 + 0.5 * outfit.loose
    hips = Bone(skeleton.points["pelvis"], skeleton.frames["pelvis"])
    narrow, wide = (0.074 + 0.02 * body.belly) * g * loose, 0.061 * g * (1 + 0.3 * outfit.loose)
    left, right = (hips.at(sign * (body.hip - 0.028), 0, -0.004) for sign in SIDES.values())
    paint = below_hem(skeleton, outfit, hips.axes, left)
    yield hips.cone((left, right), (wide, wide), paint, stretch=(1, 1.05, 1), cloth=True)
    up, flat = (hips.origin, waist), {"stretch": (1.2, 1, 0.86), "cloth": True}
    yield hips.cone(up, (0.074 * g, narrow * 0.97), outfit.bottom, cut=(-9, 0.6), **flat)
    if outfit.hem:
        hem, flare = hips.at(0, -outfit.hem), (body.hip + 0.048 * g) * loose
        yield hips.cone((waist, hem), (narrow, flare), outfit.top, stretch=(1.1, 1, 0.85), cut=(-9, 1), cloth=True)
    else:
        yield hips.cone(up, (0.074 * g, narrow), outfit.top, cut=(0.6, 9), **flat)
    middle = Bone(waist, skeleton.frames["waist"])
    ends = (waist, skeleton.points["chest"])
    yield middle.cone(ends, (narrow, 0.082 * g), outfit.top, stretch=(1.08, 1, 0.76), cloth=True)
    if body.belly > 0:
        round_ = 0.075 * g * body.belly
        yield middle.cone((middle.at(0, 0, 0.02), waist), (round_, round_), outfit.top, cloth=True)


def chest_parts(skeleton: Skeleton, body: Body, outfit: Outfit) -> Iterator[Part]:
    """Chest, shoulders and neck."""
    p, g, top, cloth = skeleton.points, body.girth, outfit.top, {"cloth": True}
    neck, chest = (Bone(p[name], skeleton.frames["chest"]) for name in ("neck", "chest"))
    head = Bone(p["head"], skeleton.frames["head"])
    radii = (0.083 * g, 0.078 * (0.5 + 0.5 * g))
    yield chest.cone((chest.origin, neck.at(0, -0.06)), radii, top, stretch=(1.16, 1, 0.76), **cloth)
    for name, sign in SIDES.items():
        outer = Bone(p[f"{name}_shoulder"], chest.axes).at(sign * -0.014, -0.002)
        yield neck.cone((neck.at(sign * 0.03, -0.035), outer), (0.05, 0.036 * g), top, stretch=(1, 1, 0.95), **cloth)
        yield neck.cone((neck.at(sign * 0.012, 0.012, -0.012), outer), (0.026, 0.03 * g), top, **cloth)
        if body.bust > 0:
            ends = chest.at(sign * 0.04, 0.03, 0.036 * g), chest.at(sign * 0.04, 0.018, 0.036 * g + 0.008)
            yield chest.cone(ends, (0.036 * body.bust, 0.038 * body.bust), top, **cloth)
    ends = neck.at(0, -0.02, -0.006), head.at(0, -0.02, -0.014)
    yield neck.cone(ends, (0.033 * g, 0.031 * g), plain(outfit.skin))


def arm_parts(skeleton: Skeleton, body: Body, outfit: Outfit, name: str) -> Iterator[Part]:
    """Upper arm, forearm and sleeve."""
    shoulder, elbow, wrist = (skeleton.points[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
    upper, lower = Bone(shoulder, skeleton.frames[f"{name}_arm"]), Bone(elbow, skeleton.frames[f"{name}_forearm"])
    g, skin = body.girth, plain(outfit.skin)
    wide = g * (1.1 + 0.4 * outfit.loose)
    if outfit.sleeve < 1:
        yield upper.cone((shoulder, elbow), (0.0315 * g, 0.0255 * g), skin, bare=True)
    if outfit.sleeve < 2:
        belly = elbow + (wrist - elbow) * 0.3
        yield lower.cone((elbow, belly), (0.0255 * g, 0.0265 * g), skin, bare=True)
        yield lower.cone((belly, wrist), (0.0265 * g, 0.0175 * g), skin, bare=True)
    if outfit.sleeve > 0:
        cut, radii = (-9.0, outfit.sleeve if outfit.sleeve < 1 else 9.0), (0.032 * wide, 0.0285 * wide)
        yield upper.cone((shoulder, elbow), radii, outfit.sleeves, cut=cut, cloth=True)
    if outfit.sleeve > 1:
        cut, radii = (-9.0, outfit.sleeve - 1), (0.0285 * wide, 0.021 * wide)
        yield lower.cone((elbow, wrist), radii, outfit.sleeves, cut=cut, cloth=True)


def hand_parts(skeleton: Skeleton, outfit: Outfit, name: str) -> Iterator[Part]:
    """Palm, thumb and four fingers that curl a little."""
    wrist = Bone(skeleton.points[f"{name}_wrist"], skeleton.frames[f"{name}_forearm"])
    skin, palm, side = plain(outfit.skin), wrist.at(0, -0.038, 0.003), -SIDES[name]
    yield wrist.cone((wrist.origin, palm), (0.0165, 0.0215), skin, stretch=(0.65, 1, 1), bare=True)
    thumb = wrist.at(0, -0.018, 0.010), wrist.at(side * 0.008, -0.052, 0.034)
    yield wrist.cone(thumb, (0.010, 0.0062), skin, bare=True)
    for k, long in enumerate((0.036, 0.042, 0.040, 0.031)):
        root = wrist.at(0, -0.046, 0.0185 - 0.0105 * k)
        middle = wrist.at(side * 0.002, -0.046 - 0.55 * long, 0.0205 - 0.0105 * k)
        tip = wrist.at(side * 0.012, -0.046 - 0.97 * long, 0.0215 - 0.0105 * k)
        yield wrist.cone((root, middle), (0.0062, 0.0056), skin, bare=True)
        yield wrist.cone((middle, tip), (0.0056, 0.0046), skin, bare=True)


def below_hem(skeleton: Skeleton, outfit: Outfit, frame: Array, start: Array) -> Paint:
    """What hips and thighs wear: the top as far down as it hangs, then trousers; a skirt over bare thighs."""
    pelvis, up = skeleton.points["pelvis"], skeleton.frames["pelvis"][:, 1]
    over, low = (outfit.bottom, 0.1) if outfit.skirt else (outfit.top, outfit.hem)
    under = outfit.bottom if outfit.trouser > 0 else plain(outfit.skin)

    def paint(p: Array) -> Array:
        height = p @ (frame.T @ up) + (start - pelvis) @ up
        covered = (height > -low) & (p[:, 1] > -low - 0.03) & (low > 0)
        return np.where(covered[:, None], over(p + vec(0, -0.08)), under(p))

    return paint


def leg_parts(skeleton: Skeleton, body: Body, outfit: Outfit, name: str) -> Iterator[Part]:
    """Thigh, calf and trouser leg."""
    hip, knee, ankle = (skeleton.points[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle"))
    thigh, shin = Bone(hip, skeleton.frames[f"{name}_thigh"]), Bone(knee, skeleton.frames[f"{name}_shin"])
    g, skin, hips = body.girth, plain(outfit.skin), below_hem(skeleton, outfit, thigh.axes, hip)
    wide = g * (1.04 + 0.5 * outfit.loose)
    calf = knee + (ankle - knee) * 0.33 + shin.axes @ vec(0, 0, -0.007)
    if outfit.trouser < 1:
        yield thigh.cone((hip, knee), (0.056 * g, 0.037 * g), hips, bare=True)
    if outfit.trouser < 2:
        yield shin.cone((knee, calf), (0.037 * g, 0.038 * g), skin, bare=True)
        yield shin.cone((calf, ankle), (0.038 * g, 0.022 * g), skin, bare=True)
    if outfit.trouser > 0:
        cut = (-9.0, outfit.trouser if outfit.trouser < 1 else 9.0)
        yield thigh.cone((hip, knee), (0.057 * wide, 0.042 * wide), hips, cut=cut, cloth=True)
    if outfit.trouser > 1:
        cut, radii = (-9.0, (outfit.trouser - 1.33) / 0.67), (0.043 * wide, 0.031 * wide)
        yield shin.cone((knee, calf), (0.042 * wide, 0.043 * wide), outfit.bottom, cloth=True)
        yield shin.cone((calf, ankle), radii, outfit.bottom, cut=cut, cloth=True)


def shoe_parts(skeleton: Skeleton, outfit: Outfit, name: str) -> Iterator[Part]:
    """A sole and an instep."""
    foot, shoes = Bone(skeleton.points[f"{name}_ankle"], skeleton.frames[f"{name}_foot"]), plain(outfit.shoes)
    sole = foot.at(0, -0.02, -0.016), foot.at(SIDES[name] * 0.008, -0.027, 0.085)
    yield foot.cone(sole, (0.027, 0.021), shoes, stretch=(1, 0.85, 1), shine=0.15)
    yield foot.cone((foot.at(0, 0.004), foot.at(0, -0.018, 0.04)), (0.026, 0.022), shoes)


def skirt_part(skeleton: Skeleton, body: Body, outfit: Outfit) -> Part:
    """A cone from the waist around both thighs."""
    p, (_, up, forward) = skeleton.points, skeleton.frames["pelvis"].T
    start = p["pelvis"] + up * 0.05
    end = p["pelvis"] + ((p["left_knee"] + p["right_knee"]) / 2 - p["pelvis"]) * outfit.skirt
    axis = (start - end) / np.linalg.norm(start - end)
    left = np.cross(axis, forward if abs(axis @ forward) < 0.9 else up)
    left /= np.linalg.norm(left)
    bone = Bone(start, np.stack([left, axis, np.cross(left, axis)], axis=1))
    spread = float(np.linalg.norm(p["left_knee"] - p["right_knee"])) / 2
    radii = (0.074 * body.girth, max(0.105 * body.girth, 0.055 + spread * outfit.skirt))
    return bone.cone((start, end), radii, outfit.bottom, stretch=(1.15, 1, 0.9), cut=(-9, 1), cloth=True)


def ellipse(p: Array, x: float, y: float, rx: float, ry: float) -> Array:
    """1 inside the ellipse, 0 outside, soft in between; mirrored at x = 0."""
    d = ((np.abs(p[:, 0]) - x) / rx) ** 2 + ((p[:, 1] - y) / ry) ** 2
    return np.clip(1.6 - 1.2 * d, 0, 1)[:, None]


def face_layers(outfit: Outfit) -> list[tuple[float, float, float, float, Array, float]]:
    """Ellipses that make a face, the lowest first: x, y, half width, half height, colour, opacity."""
    skin, dark = outfit.skin, vec(0.05, 0.05, 0.05)
    lips = skin * vec(0.80, 0.55, 0.55)
    beard = [(0.0, -0.052, 0.036, 0.026, outfit.hair, 0.85), (0.0, -0.0285, 0.017, 0.004, outfit.hair, 0.8)]
    face = [
        (0.0185, 0.010, 0.016, 0.012, skin * 0.72, 0.6),
        (0.024, -0.018, 0.016, 0.013, skin * vec(1.0, 0.80, 0.78), 0.45),
        (0.0, -0.024, 0.009, 0.003, skin * 0.6, 0.8),
        (0.0, -0.036, 0.0165, 0.0052, lips, 0.9),
        (0.0, -0.036, 0.0165, 0.0013, lips * 0.5, 0.9),
        (0.0185, 0.008, 0.0088, 0.0046, vec(0.93, 0.92, 0.90), 1.0),
        (0.0180, 0.008, 0.0042, 0.0044, outfit.eyes, 1.0),
        (0.0185, 0.0125, 0.0095, 0.0016, skin * 0.35, 0.9),
        (0.0190, 0.0215, 0.0120, 0.0028, outfit.hair * 0.8, 0.85),
    ]
    frame, lens = (0.0, 0.010, 0.03, 0.0016, dark, 1.0), (0.0185, 0.006, 0.0145, 0.0115, dark, 0.95)
    glasses = {"": [], "clear": [frame], "dark": [frame, lens]}[outfit.glasses]
    return (beard if outfit.beard else []) + face + glasses


def face_paint(outfit: Outfit, offset: Array, scale: float) -> Paint:
    """Skin with a face on the head's front; `offset` is the painted part's start from the head's centre."""
    layers = face_layers(outfit)

    def paint(p: Array) -> Array:
        p = p / scale + offset
        front = p[:, 2:] > 0.012
        tone = np.broadcast_to(outfit.skin, p.shape).copy()
        for x, y, rx, ry, over, opacity in layers:
            tone += ellipse(p, x, y, rx, ry) * front * opacity * (over - tone)
        return tone

    return paint


def head_parts(skeleton: Skeleton, body: Body, outfit: Outfit) -> Iterator[Part]:
    """Skull, jaw, nose and ears, then hair or a cap."""
    head = Bone(skeleton.points["head"], skeleton.frames["head"], body.head)
    skin, ear = plain(outfit.skin), plain(outfit.skin * 0.94)
    skull = head.at(0, 0.017, -0.008), head.at(0, 0.012, -0.002)
    jaw = head.at(0, 0.010, 0.008), head.at(0, -0.043, 0.024)
    nose = head.at(0, 0.006, 0.0465), head.at(0, -0.013, 0.0555)
    paint = face_paint(outfit, vec(0, 0.017, -0.008), body.head)
    yield head.cone(skull, (0.0490, 0.0475), paint, stretch=(0.96, 1, 1.1))
    paint = face_paint(outfit, vec(0, 0.010, 0.008), body.head)
    yield head.cone(jaw, (0.0435, 0.0215), paint, stretch=(0.98, 1, 1))
    yield head.cone(nose, (0.0045, 0.0078), skin, stretch=(1.1, 1, 1))
    for sign in SIDES.values():
        ends = head.at(sign * 0.046, 0.004, -0.006), head.at(sign * 0.045, -0.014, -0.002)
        yield head.cone(ends, (0.0145, 0.0095), ear, stretch=(0.4, 1, 0.75))
    if outfit.hair_style != "bald":
        yield crown_part(head, outfit)
    yield from hair_parts(head, outfit)


def crown_part(head: Bone, outfit: Outfit) -> Part:
    """Hair or a cap on the skull: a larger skull, cut along the hairline."""
    style, crown = outfit.hair_style, (0.0, 0.019, -0.010)
    low = -0.004 if style in ("short", "curly") else -0.012

    def keep(p: Array) -> NDArray[np.bool_]:
        x, y, z = p[:, 0] / head.scale, p[:, 1] / head.scale + crown[1], p[:, 2] / head.scale + crown[2]
        ragged = 0.003 * np.sin(x * 230) + 0.004 * np.cos(x * 90 + low * 300)
        return y > np.maximum(low + 0.95 * z, -0.05) + ragged

    paint = plain(outfit.cap) if style == "cap" else streaks(outfit.hair)
    thick = 1 + 0.28 * (style == "curly") + outfit.volume * (style != "cap")
    ends = head.at(*crown), head.at(0, 0.008, -0.010)
    more = {"stretch": (0.99, 1.02, 1.08), "keep": keep, "shine": 0.25}
    return head.cone(ends, (0.0535 * thick, 0.052 * thick), paint, **more)


def hair_parts(head: Bone, outfit: Outfit) -> Iterator[Part]:
    """What hangs or sticks out: a peak, long hair, a bun, a tail."""
    style, hair, more = outfit.hair_style, streaks(outfit.hair), {"shine": 0.25}
    if style == "cap":
        ends, paint = (head.at(0, 0.042, 0.03), head.at(0, 0.034, 0.062)), plain(outfit.cap * 0.85)
        yield head.cone(ends, (0.036, 0.03), paint, stretch=(1, 0.16, 1))
    elif style == "long":
        ends = head.at(0, 0, -0.022), head.at(0, -0.10, -0.034)
        yield head.cone(ends, (0.052, 0.046), hair, stretch=(1.05, 1, 0.62), **more)
        for sign in SIDES.values():
            ends = head.at(sign * 0.043, 0.02, 0.002), head.at(sign * 0.052, -0.088, -0.006)
            yield head.cone(ends, (0.017, 0.015), hair, **more)
    elif style == "bun":
        yield head.cone((head.at(0, 0.045, -0.052), head.at(0, 0.05, -0.056)), (0.024, 0.022), hair, **more)
    elif style == "tail":
        yield head.cone((head.at(0, 0.025, -0.058), head.at(0, -0.085, -0.075)), (0.018, 0.010), hair, **more)


def streaks(tone: Array) -> Paint:
    """Hair: strands that differ a little in brightness."""
    return lambda p: tone * (1 + 0.12 * np.sin(p[:, :1] * 900 + p[:, 1:2] * 160) * np.cos(p[:, 2:] * 400))


def backpack_parts(skeleton: Skeleton, body: Body, outfit: Outfit) -> Iterator[Part]:
    """A bag on the back and its two straps."""
    neck, back = Bone(skeleton.points["neck"], skeleton.frames["chest"]), -0.075 * body.girth - 0.035
    ends = neck.at(0, -0.19, back), neck.at(0, -0.07, back)
    yield neck.cone(ends, (0.075, 0.065), plain(outfit.cap), stretch=(1.1, 1, 0.75), prop=True)
    strap = (0.055, -0.03, -0.05), (0.06, 0.004, 0.0), (0.065, -0.05, 0.052), (0.075, -0.15, 0.045)
    for sign in SIDES.values():
        for ends in pairwise([neck.at(sign * x, y, z) for x, y, z in strap]):
            yield neck.cone(ends, (0.013, 0.013), plain(outfit.cap * 0.7), prop=True)


def handbag_parts(skeleton: Skeleton, outfit: Outfit) -> Iterator[Part]:
    """A bag that hangs from the left hand."""
    grip = Bone(skeleton.points["left_wrist"], skeleton.frames["left_forearm"]).at(0, -0.05, 0.005)
    (left, _, forward), up, paint = skeleton.frames["pelvis"].T, skeleton.up, plain(outfit.cap)
    bone = Bone(grip, np.stack([left, up, forward], axis=1))
    front, rear = (grip - up * 0.12 + forward * z for z in (0.055, -0.055))
    yield bone.cone((front, rear), (0.055, 0.055), paint, stretch=(0.45, 1, 1), prop=True)
    for end in (front, rear):
        yield bone.cone((grip, end), (0.006, 0.006), paint, prop=True)


def seat_parts(skeleton: Skeleton, pose: Pose, paint: Paint) -> Iterator[Part]:
    """A stool or chair under the pelvis."""
    up, under = skeleton.up, skeleton.points["pelvis"] - skeleton.up * 0.085
    forward = np.cross(skeleton.frames["pelvis"][:, 0], up)
    forward /= np.linalg.norm(forward)
    seat = Bone(under, np.stack([np.cross(up, forward), up, forward], axis=1).astype(np.float32))
    drop = 0.01 - float(under @ up)
    ends = seat.at(0.07, 0, 0.06), seat.at(-0.07, 0, 0.06)
    yield seat.cone(ends, (0.105, 0.105), paint, stretch=(1, 0.14, 1.1), prop=True)
    for x in (-0.13, 0.13):
        for z in (-0.03, 0.15):
            yield seat.cone((seat.at(x, 0, z), seat.at(x, drop, z)), (0.011, 0.010), paint, prop=True)
    if pose.seat == "chair":
        for x in (-0.13, 0.13):
            yield seat.cone((seat.at(x, 0, -0.06), seat.at(x, 0.32, -0.09)), (0.011, 0.011), paint, prop=True)
        for y in (0.16, 0.22, 0.28):
            ends = tuple(seat.at(x, y, -0.06 - 0.09 * y) for x in (-0.13, 0.13))
            yield seat.cone(ends, (0.017, 0.017), paint, prop=True)


def dress(skeleton: Skeleton, body: Body, pose: Pose, outfit: Outfit, seat_colour: Array) -> list[Part]:
    """All parts of a figure and of what it carries and sits on."""
    parts = [*hip_parts(skeleton, body, outfit), *chest_parts(skeleton, body, outfit)]
    parts += head_parts(skeleton, body, outfit)
    for name in SIDES:
        parts += [*arm_parts(skeleton, body, outfit, name), *hand_parts(skeleton, outfit, name)]
        parts += [*leg_parts(skeleton, body, outfit, name), *shoe_parts(skeleton, outfit, name)]
    if outfit.skirt > 0:
        parts.append(skirt_part(skeleton, body, outfit))
    if outfit.bag == "backpack":
        parts += backpack_parts(skeleton, body, outfit)
    if outfit.bag == "handbag":
        parts += handbag_parts(skeleton, outfit)
    if pose.seat:
        parts += seat_parts(skeleton, pose, plain(seat_colour))
    return parts


def trace(part: Part, x: Array, y: Array) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Shoot rays from the viewer at a part.

    Args:
        part: what to hit.
        x: (N,) float, camera space.
        y: (N,) float, camera space.

    Returns:
        (M,) indexes of the rays that hit; (M,) depth z, larger is nearer; (M, 3) unit normals in camera space;
        (M, 3) hit points from the part's start, along the part's unstretched axes.

    Source: Quilez, "intersectors", rounded cone.
    """
    frame = part.frame
    a, b = frame @ part.start, frame @ part.end
    ray = -frame[:, 2]
    length = float(np.linalg.norm(ray))
    ray = ray / length
    near = (part.start[2] + part.end[2]) / 2
    oa = x[:, None] * frame[:, 0] + y[:, None] * frame[:, 1] + near * frame[:, 2] - a
    t, normal = nearest_hit(oa, ray, b - a, part.radii)
    hit = np.isfinite(t)
    local = oa + np.where(hit, t, 0)[:, None] * ray
    axis = b - a
    along = local @ axis / max(float(axis @ axis), 1e-12)
    unit = np.linalg.norm(frame, axis=1)
    good = hit & (along >= part.cut[0]) & (along <= part.cut[1])
    if part.keep is not None:
        good &= part.keep(local / unit)
    hits = np.flatnonzero(good)
    world = normal[hits] @ frame
    world /= np.linalg.norm(world, axis=1, keepdims=True) + 1e-9
    return hits, near - t[hits] / length, world, local[hits] / unit


def nearest_hit(oa: Array, ray: Array, ba: Array, radii: tuple[float, float]) -> tuple[Array, Array]:
    """First hit of a round cone from the origin with axis `ba`; infinity where the ray misses."""
    ra, rb = radii
    slope = ra - rb
    m0, m1, m2, m3, m5 = float(ba @ ba), oa @ ba, float(ba @ ray), oa @ ray, np.einsum("nc,nc->n", oa, oa)
    d2 = m0 - slope * slope
    k2 = d2 - m2 * m2
    best, normal = np.full(len(oa), np.inf, np.float32), np.zeros_like(oa)
    if d2 > 1e-9 and abs(k2) > 1e-9:
        k1 = d2 * m3 - m1 * m2 + m2 * slope * ra
        k0 = d2 * m5 - m1 * m1 + m1 * slope * ra * 2 - m0 * ra * ra
        h = k1 * k1 - k0 * k2
        t = (-np.sqrt(np.maximum(h, 0)) - k1) / k2
        along = m1 - ra * slope + t * m2
        good = (h >= 0) & (along > 0) & (along < d2)
        best[good] = t[good]
        normal[good] = d2 * (oa[good] + t[good, None] * ray) - ba * along[good, None]
    for centre, radius in ((oa, ra), (oa - ba, rb)):
        m = centre @ ray
        h = m * m - np.einsum("nc,nc->n", centre, centre) + radius * radius
        t = -m - np.sqrt(np.maximum(h, 0))
        good = (h >= 0) & (t < best)
        best[good] = t[good]
        normal[good] = centre[good] + t[good, None] * ray
    return best, normal


@dataclass
class Layer:
    """What the rays saw of one figure, in a window of the picture at SUPERSAMPLE times its resolution."""

    left: int  # picture pixels
    top: int
    depth: Array  # (H, W), -inf where nothing was hit
    normal: Array  # (H, W, 3)
    albedo: Array  # (H, W, 3)
    shine: Array  # (H, W)
    cloth: NDArray[np.bool_]
    bare: NDArray[np.bool_]
    prop: NDArray[np.bool_]

    @classmethod
    def blank(cls, left: int, top: int, shape: tuple[int, int]) -> Layer:
        """A layer where nothing was hit yet."""
        normal, albedo = np.zeros((2, *shape, 3), np.float32)
        flags = np.zeros((3, *shape), bool)
        return cls(left, top, np.full(shape, -np.inf, np.float32), normal, albedo, np.zeros(shape, np.float32), *flags)


def extent(part: Part) -> tuple[Array, Array]:
    """Lower and upper corner of the box around a part, camera space x y."""
    reach = np.linalg.norm(np.linalg.inv(part.frame), axis=1)
    ra, rb = part.radii
    low = np.minimum(part.start - ra * reach, part.end - rb * reach)
    high = np.maximum(part.start + ra * reach, part.end + rb * reach)
    return low[:2], high[:2]


def raster(parts: list[Part], origin: tuple[float, float], scale: float, size_wh: tuple[int, int]) -> Layer:
    """Trace all parts.

    Args:
        parts: what to draw.
        origin: picture pixel of camera space (0, 0).
        scale: picture pixels per body height.
        size_wh: the picture's.

    Returns:
        The window of the picture that the parts cover; empty where they lie outside.
    """
    boxes = [extent(part) for part in parts]
    low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
    left, right = np.clip(origin[0] + np.array([low[0] * scale - 1, high[0] * scale + 3]), 0, size_wh[0]).astype(int)
    top, bottom = np.clip(origin[1] - np.array([high[1] * scale + 1, low[1] * scale - 3]), 0, size_wh[1]).astype(int)
    layer = Layer.blank(int(left), int(top), ((bottom - top) * SUPERSAMPLE, (right - left) * SUPERSAMPLE))
    shape = layer.depth.shape
    xs = ((np.arange(shape[1]) + 0.5) / SUPERSAMPLE - 0.5 + left - origin[0]) / scale
    ys = (origin[1] - ((np.arange(shape[0]) + 0.5) / SUPERSAMPLE - 0.5 + top)) / scale
    for part, (corner_low, corner_high) in zip(parts, boxes, strict=True):
        columns = slice(*np.searchsorted(xs, (corner_low[0], corner_high[0])))
        rows = slice(*np.searchsorted(-ys, (-corner_high[1], -corner_low[1])))
        draw_part(layer, part, xs.astype(np.float32)[columns], ys.astype(np.float32)[rows], (rows, columns))
    return layer


def draw_part(layer: Layer, part: Part, xs: Array, ys: Array, window: tuple[slice, slice]) -> None:
    """Trace one part into its window of the layer wherever it is the nearest so far."""
    if not (len(xs) and len(ys)):
        return
    x, y = (v.ravel() for v in np.meshgrid(xs, ys))
    hits, depth, normal, local = trace(part, x, y)
    shape = (len(ys), len(xs))
    nearer = depth > layer.depth[window].ravel()[hits]
    rows, columns = np.unravel_index(hits[nearer], shape)
    rows, columns = rows + window[0].start, columns + window[1].start
    layer.depth[rows, columns] = depth[nearer]
    layer.normal[rows, columns] = normal[nearer]
    layer.albedo[rows, columns] = part.paint(local[nearer])
    layer.shine[rows, columns] = part.shine
    layer.cloth[rows, columns] = part.cloth
    layer.bare[rows, columns] = part.bare
    layer.prop[rows, columns] = part.prop


@dataclass(frozen=True)
class Light:
    """One distant lamp and the sky."""

    direction: Array  # (3,) unit, towards the lamp, camera space
    lamp: Array  # (3,) RGB
    sky: Array  # (3,) RGB


def shade(layer: Layer, light: Light, scale: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Light a layer: (h, w, 3) premultiplied RGB and (h, w) alpha at the picture's resolution."""
    hit = np.isfinite(layer.depth)
    weight = hit.astype(np.float32)
    unit = scale * SUPERSAMPLE
    normal = smooth_normals(layer, unit)
    normal += wrinkles(layer, unit, rng)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-6
    lit = np.clip(0.25 + 0.75 * (normal @ light.direction), 0, None)
    half = light.direction + vec(0, 0, 1)
    glint = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 24 * (layer.shine + 0.05)
    depth = np.where(hit, layer.depth, 0)
    blur = 0.03 * unit + 0.5
    around = cv2.GaussianBlur(depth * weight, (0, 0), blur) / (cv2.GaussianBlur(weight, (0, 0), blur) + 1e-3)
    open_sky = np.clip(1 - 7 * np.clip(around - depth - 0.004, 0, 0.08), 0.4, 1)[..., None]
    sky = (0.62 + 0.38 * normal[..., 1:2]) * (0.85 + 0.15 * normal[..., 2:])
    colour = layer.albedo * (light.lamp * lit[..., None] * (0.5 + 0.5 * open_sky) + light.sky * sky * open_sky)
    colour = np.clip(colour + glint[..., None] * light.lamp, 0, 1) * weight[..., None]
    size = (layer.depth.shape[1] // SUPERSAMPLE, layer.depth.shape[0] // SUPERSAMPLE)
    rgb, alpha = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (colour, weight))
    return rgb, alpha


def smooth_normals(layer: Layer, unit: float) -> Array:
    """Blur normals within cloth and within bare skin, so that cones flow into one garment or one limb."""
    normal = layer.normal.copy()
    for group, sigma in ((layer.cloth, 0.013 * unit), (layer.bare, 0.006 * unit)):
        weight = group.astype(np.float32)[..., None]
        blurred = cv2.GaussianBlur(layer.normal * weight, (0, 0), sigma + 0.1)
        normal += weight * (0.2 * layer.normal + 1.2 * blurred - normal)
    return normal


def wrinkles(layer: Layer, unit: float, rng: np.random.Generator) -> Array:
    """Folds of cloth as noise on the normals."""
    fold = rng.standard_normal(layer.depth.shape).astype(np.float32)
    fold = cv2.GaussianBlur(fold, (0, 0), 0.009 * unit + 0.4, sigmaY=0.015 * unit + 0.4)
    fold *= 0.10 / (fold.std() + 1e-6)
    tilt = np.stack([fold, np.roll(fold, 7, axis=0), np.zeros_like(fold)], axis=2)
    return tilt * layer.cloth[..., None]


@dataclass
class Figure:
    """A placed person."""

    body: Body
    pose: Pose
    outfit: Outfit
    origin: tuple[float, float]  # picture pixel of the ground under the pelvis
    scale: float  # pixels per body height
    camera_pitch: float
    seat_colour: Array
    seed: int


@dataclass
class Drawn:
    """A rendered figure and its truth, before others stand in front of it."""

    rgb: Array  # (h, w, 3) premultiplied
    alpha: Array  # (h, w)
    body_alpha: Array  # (h, w) without furniture
    left: int
    top: int
    keypoints: Array  # (17, 3) x y v
    ground: list[tuple[float, float]]  # picture pixels under which there is shadow


def draw(figure: Figure, light: Light, size_wh: tuple[int, int]) -> Drawn:
    """Render one figure and label its keypoints."""
    skeleton = build_skeleton(figure.body, figure.pose, figure.camera_pitch)
    parts = dress(skeleton, figure.body, figure.pose, figure.outfit, figure.seat_colour)
    layer = raster(parts, figure.origin, figure.scale, size_wh)
    empty = 0 in layer.depth.shape
    shape = (layer.depth.shape[0] // SUPERSAMPLE, layer.depth.shape[1] // SUPERSAMPLE)
    rgb, alpha, body_alpha = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if not empty:
        rgb, alpha = shade(layer, light, figure.scale, np.random.default_rng(figure.seed))
        body = (np.isfinite(layer.depth) & ~layer.prop).astype(np.float32)
        body_alpha = cv2.resize(body, shape[::-1], interpolation=cv2.INTER_AREA)
    keypoints = label(skeleton, figure, layer)
    ankles, up = (skeleton.points[f"{name}_ankle"] for name in SIDES), skeleton.up
    ground = [*(to_picture(figure, ankle - up * (ankle @ up)) for ankle in ankles), figure.origin]
    return Drawn(rgb, alpha, body_alpha, layer.left, layer.top, keypoints, ground)


def to_picture(figure: Figure, point: Array) -> tuple[float, float]:
    """Bring a point of camera space into picture pixels."""
    return figure.origin[0] + float(point[0]) * figure.scale, figure.origin[1] - float(point[1]) * figure.scale


def label(skeleton: Skeleton, figure: Figure, layer: Layer) -> Array:
    """(17, 3) x y v: 2 seen, 1 behind the own body, 0 outside the picture or on the far side of the head."""
    faces = face_points(skeleton, figure.body)
    labels = np.zeros((len(KEYPOINTS), 3), np.float32)
    for k, name in enumerate(KEYPOINTS):
        slack, point = FACE_DEPTH * figure.body.head, skeleton.points.get(name)
        if point is None:
            point, outward = faces[name]
            if outward[2] < FACE_TURN[name]:
                continue
        else:
            slack = JOINT_DEPTH[name.split("_")[1]] * figure.body.girth
        x, y = to_picture(figure, point)
        column, row = (round((v - o + 0.5) * SUPERSAMPLE - 0.5) for v, o in ((x, layer.left), (y, layer.top)))
        rows, columns = layer.depth.shape
        inside = 0 <= column < columns and 0 <= row < rows
        surface = layer.depth[row, column] if inside else -np.inf
        labels[k] = x, y, 2 if surface - point[2] < slack else 1
    return labels


def noise(rng: np.random.Generator, height: int, width: int, octaves: tuple[int, ...]) -> Array:
    """(height, width) in [0, 1]: value noise, one grid of that many cells per octave."""
    total = np.zeros((height, width), np.float32)
    for k, cells in enumerate(octaves):
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / (k + 1)
    total -= total.min()
    return total / (total.max() + 1e-6)


def colour(rng: np.random.Generator, saturation: float = 1.0, low: float = 0.05, high: float = 0.95) -> Array:
    """A random RGB colour; greys are as common as in wardrobes."""
    hue, sat, value = rng.random() * 360, rng.random() ** 1.6 * saturation, rng.uniform(low, high)
    hsv = np.array([[[hue, sat, value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def flat(height: int, width: int, tone: Array) -> Array:
    """(height, width, 3): one colour."""
    return np.ones((height, width, 3), np.float32) * tone


def rgb_of(tone: Array) -> list[float]:
    """A colour as OpenCV's drawing functions take it."""
    return [float(v) for v in tone]


def blend(a: Array, b: Array, weight: Array) -> Array:
    """`a` where the (H, W) weight is 0, `b` where it is 1."""
    return a + weight[..., None] * (b - a)


def tiles(rng: np.random.Generator, height: int, width: int) -> Array:
    """(height, width, 3): bricks or tiles with mortar."""
    h = int(rng.integers(8, 50))
    w = int(h * rng.uniform(0.8, 3))
    y, x = np.mgrid[:height, :width]
    x = x + y // h % 2 * (w // 2) * int(rng.random() < 0.6)
    tone = rng.random((height // h + 2, (width + w) // w + 2), dtype=np.float32)[y // h, x // w]
    face = flat(height, width, colour(rng, 0.6, 0.25))
    face = blend(face, colour(rng, 0.6, 0.25), tone * rng.uniform(0.1, 0.7))
    joint = max(1, h // 12)
    return blend(face, colour(rng, 0.3), ((y % h < joint) | (x % w < joint)).astype(np.float32))


def texture(rng: np.random.Generator, height: int, width: int) -> Array:
    """(height, width, 3): noise between two colours, or tiles, or stripes."""
    kind = rng.random()
    if kind < 0.25:
        return tiles(rng, height, width)
    first = colour(rng, 0.5, 0.2, 0.95)
    second = np.clip(first + rng.normal(0, 0.15, 3), 0, 1).astype(np.float32)
    if kind < 0.4:
        y, x = np.mgrid[:height, :width]
        stripe = np.sin((x + 0.3 * rng.normal() * y) * rng.uniform(0.05, 0.5)) > 0
        return blend(flat(height, width, first), second, stripe.astype(np.float32))
    octaves = tuple(int(v) for v in rng.choice((2, 4, 8, 16, 32, 64, 128), size=3))
    return blend(flat(height, width, first), second, noise(rng, height, width, octaves))


def outdoors(rng: np.random.Generator, height: int, width: int, horizon: int) -> Array:
    """Sky, clouds, trees, houses."""
    sky = colour(rng, 0.5, 0.5, 1.0) if rng.random() < 0.4 else np.float32([0.45, 0.65, 0.95]) * rng.uniform(0.6, 1.05)
    ramp = np.broadcast_to(np.linspace(0, 1, height, dtype=np.float32)[:, None], (height, width))
    picture = blend(flat(height, width, sky), vec(0.95, 0.95, 0.95), ramp)
    clouds = noise(rng, height, width, (3, 6, 12, 24)) ** 3 * rng.uniform(0, 0.8)
    picture = blend(picture, vec(1, 1, 1), clouds).astype(np.float32)
    for _ in range(int(rng.integers(0, 6))):
        w, h = int(rng.uniform(0.1, 0.5) * width), int(rng.uniform(0.2, 0.9) * max(horizon, 20)) + 4
        house(rng, picture, int(rng.uniform(-0.2, 1) * width), horizon - h, w, h)
    for _ in range(int(rng.integers(0, 9))):
        tree(rng, picture, rng.uniform(0, width), horizon, rng.uniform(0.15, 0.9) * max(horizon, 20))
    return picture


def house(rng: np.random.Generator, picture: Array, x: int, y: int, w: int, h: int) -> None:
    """A wall with windows, clipped to the picture."""
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, picture.shape[1]), min(y + h, picture.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    wall = texture(rng, y1 - y0, x1 - x0)
    step, pane = int(rng.integers(12, 40)), colour(rng, 0.4)
    for r in range(step // 2, wall.shape[0] - step // 2, step):
        for c in range(step // 2, wall.shape[1] - step // 2, step):
            wall[r : r + step // 2, c : c + step // 3] = pane
    picture[y0:y1, x0:x1] = wall


def tree(rng: np.random.Generator, picture: Array, x: float, base: float, tall: float) -> None:
    """A trunk and a heap of leafy blobs."""
    leaf = np.array([0.15, 0.3, 0.1], np.float32) * rng.uniform(0.5, 1.8) + rng.normal(0, 0.05, 3).astype(np.float32)
    foot, fork = (int(x), int(base)), (int(x), int(base - tall * 0.7))
    cv2.line(picture, foot, fork, rgb_of(leaf * 0.6), max(1, int(tall * 0.06)))
    for _ in range(60):
        centre = int(x + rng.normal(0, tall * 0.16)), int(base - tall * 0.7 + rng.normal(0, tall * 0.16))
        tone, radius = np.clip(leaf * rng.uniform(0.6, 1.5), 0, 1), max(1, int(tall * rng.uniform(0.02, 0.09)))
        cv2.circle(picture, centre, radius, rgb_of(tone), -1, cv2.LINE_AA)


def clutter(rng: np.random.Generator, picture: Array, count: int) -> None:
    """Boxes, poles and balls."""
    height, width = picture.shape[:2]
    for _ in range(count):
        tone = rgb_of(colour(rng))
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        kind = rng.random()
        if kind < 0.6:
            w, h = int(rng.uniform(0.03, 0.3) * width), int(rng.uniform(0.03, 0.3) * height)
            cv2.rectangle(picture, (x, y), (x + w, y + h), tone, -1)
            darker = [v * 0.7 for v in tone]
            cv2.rectangle(picture, (x, y + h // 2), (x + w, y + h), darker, -1 if rng.random() < 0.3 else 2)
        elif kind < 0.8:
            end = int(x + rng.normal(0, 6)), int(y + rng.uniform(0.2, 0.9) * height)
            cv2.line(picture, (x, y), end, tone, int(rng.integers(2, 14)), cv2.LINE_AA)
        else:
            cv2.circle(picture, (x, y), int(rng.uniform(0.01, 0.07) * width), tone, -1, cv2.LINE_AA)


def backdrop(rng: np.random.Generator, size_wh: tuple[int, int], horizon: int) -> Array:
    """(H, W, 3) RGB in [0, 1]: somewhere with a ground below the horizon."""
    width, height = size_wh
    kind = rng.random()
    picture = outdoors(rng, height, width, horizon) if kind < 0.45 else texture(rng, height, width)
    if 0.45 < kind < 0.8:
        clutter(rng, picture, int(rng.integers(0, 10)))
    ground = texture(rng, height, width)
    if rng.random() < 0.6:
        ground = tilt_ground(ground, rng.uniform(0.1, 0.6))
    if horizon < height and kind < 0.92:
        fade = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.8, 1.1), height - horizon, dtype=np.float32)
        picture[horizon:] = np.clip(ground[horizon:] * fade[:, None, None], 0, 1)
    if rng.random() < 0.4:
        clutter(rng, picture, int(rng.integers(1, 8)))
    if rng.random() < 0.6:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 4))
    return np.clip(picture, 0, 1).astype(np.float32)


def tilt_ground(ground: Array, top: float) -> Array:
    """Show a flat texture in perspective."""
    height, width = ground.shape[:2]
    inset = width * (1 - top) / 2
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    seen = np.float32([[inset, 0], [width - inset, 0], [width * 1.6, height], [-width * 0.6, height]])
    matrix = cv2.getPerspectiveTransform(corners, seen)
    return cv2.warpPerspective(ground, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def pattern(rng: np.random.Generator) -> tuple[Paint, Paint]:
    """A fabric for the torso and one for limbs: plain, striped, checked, dotted, with a print, or an open jacket."""
    first, second = colour(rng), colour(rng)
    kinds = ("plain", "stripes", "bars", "checks", "dots", "print", "jacket")
    kind = str(rng.choice(kinds, p=(0.42, 0.12, 0.06, 0.1, 0.06, 0.1, 0.14)))
    step = rng.uniform(0.02, 0.06)

    def paint(p: Array) -> Array:
        weight = {"print": print_weight, "jacket": jacket_weight}.get(kind, fabric_weight)(p, kind, step)
        return first + weight[:, None].astype(np.float32) * (second - first)

    return paint, plain(first) if kind in ("print", "jacket") else paint


def fabric_weight(p: Array, kind: str, step: float) -> Array:
    """(N,) in [0, 1]: how much of the second colour a repeating fabric shows."""
    u, v = p[:, 0] / step % 1, p[:, 1] / step % 1
    return {
        "plain": 0 * u,
        "stripes": v > 0.5,
        "bars": u > 0.5,
        "checks": ((u > 0.5) * 1.0 + (v > 0.5)) / 2,
        "dots": (u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.09,
    }[kind]


def print_weight(p: Array, _: str, step: float) -> Array:
    """A picture on the chest."""
    return (np.abs(p[:, 0]) < step) & (np.abs(p[:, 1] - 0.03) < step / 2) & (p[:, 2] > 0.02)


def jacket_weight(p: Array, _: str, step: float) -> Array:
    """What is worn under it shows in front."""
    return (np.abs(p[:, 0]) < 0.012 + step * 0.4) & (p[:, 2] > 0.02)


def random_body(rng: np.random.Generator) -> Body:
    """Adults and, one in six, children."""
    woman, child = rng.random() < 0.45, rng.random() < 0.16
    girth = float(np.clip(rng.normal(1.02, 0.11), 0.82, 1.35))
    body = Body(
        head=rng.uniform(0.97, 1.1),
        shoulder=rng.normal(0.091 if woman else 0.102, 0.004) * (0.7 + 0.3 * girth),
        hip=rng.normal(0.063 if woman else 0.058, 0.003),
        girth=girth,
        belly=max(0.0, rng.normal(0.1, 0.5)) if girth > 1 else 0.0,
        bust=rng.uniform(0.7, 1.1) if woman and not child else 0.0,
        leg=rng.uniform(0.95, 1.06),
        arm=rng.uniform(0.96, 1.06),
    )
    if child:
        body = replace(body, head=rng.uniform(1.25, 1.6), leg=rng.uniform(0.82, 0.95), arm=0.92, belly=0.0)
    return body


def random_outfit(rng: np.random.Generator, woman: bool) -> Outfit:
    """Clothes, skin and hair."""
    skirt = rng.uniform(0.5, 1.3) if rng.random() < (0.3 if woman else 0.02) else 0.0
    styles = "long long tail bun short curly cap" if woman else "short short short curly bald cap"
    bottom = pattern(rng)[1] if rng.random() < 0.25 else plain(denim(rng))
    top, sleeves = pattern(rng)
    skin = np.float32(SKIN[rng.integers(len(SKIN))]) * rng.uniform(0.92, 1.04)
    return Outfit(
        skin=np.clip(skin, 0, 1).astype(np.float32),
        hair=np.float32(HAIR[rng.integers(len(HAIR))]),
        hair_style=str(rng.choice(styles.split())),
        volume=rng.uniform(0.0, 0.13),
        top=top,
        sleeves=sleeves,
        bottom=top if skirt and rng.random() < 0.4 else bottom,
        shoes=colour(rng, 0.6),
        sleeve=float(rng.choice((0.0, 0.45, 0.6, 1.5, 1.97), p=(0.12, 0.25, 0.2, 0.08, 0.35))),
        trouser=0.0 if skirt else float(rng.choice((0.5, 0.85, 1.4, 1.97), p=(0.14, 0.16, 0.08, 0.62))),
        skirt=skirt,
        loose=rng.uniform(0.0, 0.35),
        hem=0.0 if skirt or rng.random() < 0.35 else rng.uniform(0.03, 0.1),
        beard=not woman and rng.random() < 0.25,
        glasses=str(rng.choice(("", "clear", "dark"), p=(0.8, 0.1, 0.1))),
        bag=str(rng.choice(("", "backpack", "handbag"), p=(0.82, 0.1, 0.08))),
        eyes=np.float32(EYES[rng.integers(len(EYES))]),
        cap=colour(rng),
    )


def denim(rng: np.random.Generator) -> Array:
    """What most trousers look like."""
    return np.clip(np.float32(TROUSERS[rng.integers(len(TROUSERS))]) * rng.uniform(0.7, 1.5), 0, 1).astype(np.float32)


def walk(phase: float, stride: float, bend: float = 0.0) -> Pose:
    """A moment of a walk.

    Args:
        phase: radians; at pi / 2 the left leg is furthest forward.
        stride: how far legs swing, degrees.
        bend: how much more elbows and knees bend, degrees; a run has about 60.
    """
    arms, legs = {}, {}
    for k, name in enumerate(SIDES):
        swing, moving = np.sin(phase + k * np.pi), max(0.0, np.cos(phase + k * np.pi))
        knee = 6 + (38 + 0.75 * bend) * moving**1.3 + 8 * max(0.0, -swing)
        legs[name] = Limb(stride * swing + 4 + 0.2 * bend, 1.0, 4.0, knee)
        arms[name] = Limb(-stride * 0.9 * swing + 2, 7.0, -10.0, 12 + 1.2 * bend + 12 * max(0.0, -swing))
    twist = -0.25 * stride * np.sin(phase)
    spine, head = (2 + 0.06 * bend, 0, twist), (-2, 0, -0.7 * twist)
    return Pose(lean=2 + 0.12 * bend, spine=spine, head=head, arms=arms, legs=legs)


def hanging(rng: np.random.Generator) -> Limb:
    """An arm at rest, on the hip, in front, or folded."""
    choices = (
        Limb(rng.normal(0, 8), rng.uniform(4, 16), rng.normal(-5, 15), rng.uniform(3, 35)),
        Limb(rng.normal(-12, 6), rng.uniform(35, 55), rng.normal(-78, 8), rng.uniform(80, 105)),
        Limb(rng.uniform(10, 40), rng.uniform(2, 12), rng.normal(-25, 10), rng.uniform(70, 115)),
        Limb(rng.uniform(15, 30), rng.uniform(2, 10), rng.normal(-62, 6), rng.uniform(95, 115)),
        Limb(rng.uniform(20, 60), rng.uniform(5, 20), rng.normal(-10, 15), rng.uniform(100, 140)),
    )
    return choices[rng.choice(len(choices), p=(0.58, 0.12, 0.14, 0.06, 0.1))]


def raised(rng: np.random.Generator) -> Limb:
    """An arm held up, out or waving."""
    choices = (
        Limb(rng.uniform(140, 178), rng.uniform(-5, 15), rng.normal(0, 15), rng.uniform(0, 50)),
        Limb(rng.normal(0, 12), rng.uniform(70, 165), rng.normal(30, 30), rng.uniform(0, 40)),
        Limb(rng.normal(5, 10), rng.uniform(55, 105), rng.uniform(70, 100), rng.uniform(50, 120)),
        Limb(rng.uniform(70, 105), rng.uniform(-10, 15), rng.normal(0, 20), rng.uniform(0, 40)),
    )
    return choices[rng.integers(len(choices))]


def stand(rng: np.random.Generator) -> Pose:
    """Standing, weight on one leg or feet apart; arms anywhere."""
    spread = abs(rng.normal(0, 7))
    legs = {name: Limb(rng.normal(2, 5), spread + 1, rng.uniform(0, 18), abs(rng.normal(2, 7))) for name in SIDES}
    arms = {name: raised(rng) if rng.random() < 0.3 else hanging(rng) for name in SIDES}
    return Pose(lean=rng.normal(0, 2), spine=tuple(rng.normal(2, (5, 4, 7))), arms=arms, legs=legs)


def sit(rng: np.random.Generator) -> Pose:
    """On a chair, a stool, or something the picture does not show."""
    flex, legs, arms = rng.normal(84, 6), {}, {}
    for name in SIDES:
        legs[name] = Limb(flex + rng.normal(0, 3), rng.uniform(2, 16), rng.normal(0, 5), rng.uniform(60, 100))
        on_lap = Limb(rng.uniform(15, 45), 8, -15, rng.uniform(35, 80))
        arms[name] = hanging(rng) if rng.random() < 0.5 else on_lap
    spine, seat = (rng.normal(6, 9), rng.normal(0, 3), rng.normal(0, 6)), str(rng.choice(("chair", "stool")))
    return Pose(lean=rng.normal(-2, 4), spine=spine, arms=arms, legs=legs, seat=seat)


def bow(rng: np.random.Generator) -> Pose:
    """Bent forward or squatting, hands low."""
    if rng.random() < 0.5:
        lean = rng.uniform(20, 55)
        legs = {name: Limb(lean + rng.normal(0, 6), 5, 5, rng.uniform(0, 25)) for name in SIDES}
    else:
        lean, depth = rng.uniform(10, 30), rng.uniform(50, 105)
        legs = {name: Limb(depth + lean, rng.uniform(5, 25), 10, depth * rng.uniform(1.3, 1.45)) for name in SIDES}
    arms = {name: Limb(rng.uniform(20, 100), rng.uniform(0, 15), -5, rng.uniform(0, 60)) for name in SIDES}
    spine, head = (rng.uniform(5, 45), rng.normal(0, 4), rng.normal(0, 8)), (rng.normal(-10, 12), 0, 0)
    return Pose(lean=lean, spine=spine, head=head, arms=arms, legs=legs)


def sport(rng: np.random.Generator) -> Pose:
    """Lunges, kicks and jumps: legs far apart, arms thrown about."""
    legs, arms = {}, {}
    for name in SIDES:
        legs[name] = Limb(rng.normal(15, 35), rng.uniform(0, 35), rng.uniform(0, 20), abs(rng.normal(20, 35)))
        arms[name] = raised(rng) if rng.random() < 0.65 else hanging(rng)
    lean, roll, air = rng.normal(5, 10), rng.normal(0, 9), max(0.0, rng.normal(0, 0.12))
    return Pose(lean=lean, roll=roll, spine=tuple(rng.normal(3, (10, 9, 12))), arms=arms, legs=legs, air=air)


def random_pose(rng: np.random.Generator) -> Pose:
    """Any pose, seen from any side."""
    kind = rng.choice(("stand", "walk", "run", "sit", "bow", "sport"), p=(0.38, 0.2, 0.1, 0.13, 0.08, 0.11))
    if kind == "walk":
        pose = walk(rng.uniform(0, 6.28), rng.uniform(14, 32))
    elif kind == "run":
        pose = walk(rng.uniform(0, 6.28), rng.uniform(34, 50), rng.uniform(45, 75))
        pose = replace(pose, air=max(0.0, rng.normal(0.01, 0.03)))
    else:
        pose = {"stand": stand, "sit": sit, "bow": bow, "sport": sport}[kind](rng)
    head = tuple(np.add(pose.head, rng.normal(0, (9, 6, 20))))
    arms = {name: replace(arm, flex=arm.flex + rng.normal(0, 4)) for name, arm in pose.arms.items()}
    yaw = rng.normal(0, 35) if rng.random() < 0.5 else rng.uniform(-180, 180)
    return replace(pose, yaw=float(yaw), head=head, arms=arms)


def random_figure(rng: np.random.Generator, origin: tuple[float, float], scale: float, camera_pitch: float) -> Figure:
    """Somebody doing something."""
    body = random_body(rng)
    outfit, pose, seat = random_outfit(rng, body.bust > 0), random_pose(rng), colour(rng, 0.6)
    return Figure(body, pose, outfit, origin, scale, camera_pitch, seat, int(rng.integers(1 << 30)))


def random_light(rng: np.random.Generator) -> Light:
    """Between an overcast sky and a low sun."""
    direction = np.float32([rng.normal(0, 0.7), rng.uniform(0.2, 1.0), rng.uniform(0.1, 1.0)])
    lamp, strength = vec(1, rng.uniform(0.9, 1), rng.uniform(0.75, 1)), rng.uniform(0.45, 1.0)
    return Light(direction / np.linalg.norm(direction), lamp * strength, vec(0.95, 0.98, 1.0) * (1.3 - strength * 0.75))


def cast_shadow(picture: Array, drawn: Drawn, scale: float, strength: float) -> None:
    """Darken the ground softly under the feet, in place."""
    height, width = picture.shape[:2]
    shadow = np.zeros((height, width), np.float32)
    middle = np.mean(drawn.ground, axis=0)
    for (x, y), wide, dark in ((middle, 0.16, 0.6), *((foot, 0.075, 1.0) for foot in drawn.ground[:2])):
        axes = max(1, int(scale * wide)), max(1, int(scale * wide / 4))
        cv2.ellipse(shadow, (int(x), int(y)), axes, 0, 0, 360, dark, -1)
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.5, scale * 0.02))
    picture *= 1 - strength * shadow[..., None]


def screen(rng: np.random.Generator, size_wh: tuple[int, int]) -> tuple[Array, Array]:
    """Something between people and camera, a table's edge, a box or a post: (H, W, 3) RGB and (H, W) alpha."""
    width, height = size_wh
    alpha = np.zeros((height, width), np.float32)
    x, y = int(rng.uniform(-0.1, 0.9) * width), int(rng.uniform(0.55, 0.9) * height)
    w, h = int(rng.uniform(0.15, 0.8) * width), height
    if rng.random() < 0.3:
        w, y = int(rng.uniform(0.01, 0.05) * width) + 2, int(rng.uniform(-0.2, 0.5) * height)
    cv2.rectangle(alpha, (x, y), (x + w, y + h), 1.0, -1)
    return texture(rng, height, width), cv2.GaussianBlur(alpha, (0, 0), 0.7)


def compose(
    picture: Array, figures: list[Figure], light: Light, shadow: float, front: tuple[Array, Array] | None = None
) -> tuple[Array, list[dict]]:
    """Draw figures far to near, then `front`; (H, W, 3) picture and one COCO annotation, without ids, per figure."""
    height, width = picture.shape[:2]
    picture = picture.copy()
    drawn = [draw(figure, light, (width, height)) for figure in figures]
    for one, figure in zip(drawn, figures, strict=True):
        cast_shadow(picture, one, figure.scale, shadow)
    covers = []
    for one in drawn:
        window = (slice(one.top, one.top + one.alpha.shape[0]), slice(one.left, one.left + one.alpha.shape[1]))
        picture[window] = one.rgb + (1 - one.alpha[..., None]) * picture[window]
        cover, body = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        cover[window], body[window] = one.alpha, one.body_alpha
        for earlier in covers:
            earlier[0][cover > 0.5] = 0
        covers.append([body, one, float((body > 0.5).sum())])
        for earlier in covers[:-1]:
            hide(earlier[1].keypoints, cover)
    if front is not None:
        picture = blend(picture, *front)
        for body, one, _ in covers:
            body[front[1] > 0.5] = 0
            hide(one.keypoints, front[1])
    return picture, [annotation(body > 0.5, one.keypoints, whole) for body, one, whole in covers]


def hide(keypoints: Array, cover: Array) -> None:
    """Mark keypoints under a nearer figure as hidden, in place."""
    for point in keypoints:
        x, y = round(float(point[0])), round(float(point[1]))
        if point[2] and 0 <= y < cover.shape[0] and 0 <= x < cover.shape[1] and cover[y, x] > 0.5:
            point[2] = 1


def annotation(seen: NDArray[np.bool_], keypoints: Array, whole: float) -> dict:
    """One person in COCO's terms; `shown` is the fraction that nobody hides."""
    height, width = seen.shape
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = [0.0, 0.0, 0.0, 0.0]
    if len(rows):
        box = [float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)]
    flat, labelled = [], 0
    for x, y, v in keypoints:
        inside = v > 0 and 0 <= x <= width - 1 and 0 <= y <= height - 1
        flat += [round(float(x), 1), round(float(y), 1), int(v)] if inside else [0, 0, 0]
        labelled += int(inside)
    area = float(seen.sum())
    truth = {"category_id": 1, "bbox": box, "area": area, "iscrowd": 0, "num_keypoints": labelled, "keypoints": flat}
    return {**truth, "shown": area / max(whole, 1.0)}


def finish(rng: np.random.Generator, picture: Array) -> NDArray[np.uint8]:
    """Camera: softness, colour cast, brightness, contrast, noise; (H, W, 3) RGB bytes."""
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.7) if rng.random() < 0.85 else rng.uniform(0.8, 2.0))
    cast = 1 + rng.normal(0, 0.05, 3).astype(np.float32)
    picture = np.clip(picture * cast, 0, 1) ** rng.uniform(0.6, 1.15)
    picture = (picture - 0.5) * rng.uniform(0.75, 1.15) + 0.5 + rng.normal(0, 0.05)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    picture = picture + grain * abs(rng.normal(0, 0.018))
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def random_picture(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], list[dict]]:
    """One scene of one to four people."""
    width, height = ((size, size), (size, size * 3 // 4), (size * 3 // 4, size))[rng.integers(3)]
    horizon = int(rng.uniform(0.15, 0.75) * height)
    scene, light, shadow = backdrop(rng, (width, height), horizon), random_light(rng), rng.uniform(0.2, 0.7)
    pitch = rng.uniform(-3, 18)
    for _ in range(20):
        figures = place_people(rng, (width, height), pitch, horizon)
        front = screen(rng, (width, height)) if rng.random() < 0.15 else None
        picture, people = compose(scene, figures, light, shadow, front)
        if all(p["shown"] > 0.25 and p["num_keypoints"] >= 5 and p["area"] > 250 for p in people):
            break
    return finish(rng, picture), seen_people(people)


def seen_people(people: list[dict]) -> list[dict]:
    """Those of whom there is something to see, without `shown`."""
    seen = (person for person in people if person["num_keypoints"] and person["area"] > 60)
    return [{key: value for key, value in person.items() if key != "shown"} for person in seen]


def place_people(rng: np.random.Generator, size_wh: tuple[int, int], camera_pitch: float, horizon: int) -> list[Figure]:
    """Random figures, far to near, most on the ground that the horizon implies."""
    width, height = size_wh
    count = int(rng.choice((1, 2, 3, 4), p=(0.4, 0.3, 0.18, 0.12)))
    base = np.exp(rng.uniform(np.log(115), np.log(460))) * (height / 480) * (1.0 if count < 3 else 0.75)
    eye = rng.uniform(0.55, 1.3)  # camera above the ground, body heights
    on_ground = rng.random() < 0.75
    spots = []
    for _ in range(count):
        scale = float(np.clip(base * np.exp(rng.normal(0, 0.28)), 58, 460))
        y = rng.uniform(min(scale, height * 0.97), height * 0.99)
        if rng.random() < 0.13:
            scale, y = scale * 1.5, rng.uniform(0.9, 1.5) * scale * 1.5
        elif on_ground:
            y = np.clip(horizon + eye * scale + rng.normal(0, 3), 0.7 * scale, height * 1.15)
        spots.append((float(y), float(rng.uniform(0.1, 0.9) * width), scale))
    return [random_figure(rng, (x, y), scale, camera_pitch) for y, x, scale in sorted(spots)]


def dataset(images: list[dict], annotations: list[dict], description: str) -> dict:
    """A COCO dataset; annotations get their ids here."""
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": KEYPOINTS, "skeleton": COCO_SKELETON}
    numbered = [{"id": k, **one} for k, one in enumerate(annotations, start=1)]
    content = {"images": images, "annotations": numbered, "categories": [category]}
    return {"info": {"description": description}, "licenses": [], **content}


@click.group()
def main() -> None:
    """Render people with exact keypoints."""


@main.command()
@click.argument("out_dir", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), required=True, help="Pictures to render.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--size", type=click.IntRange(96), default=480, show_default=True, help="Longest side, pixels.")
def pictures(out_dir: Path, count: int, seed: int, size: int) -> None:
    """Render training pictures into OUT_DIR/images and OUT_DIR/annotations.json."""
    folder = out_dir / "images"
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for k in range(1, count + 1):
        rng = np.random.default_rng((seed, k))
        rgb, people = random_picture(rng, size)
        name = f"people_{k:06d}.jpg"
        quality = int(rng.choice((90, 90, 90, 70, 50)))
        cv2.imwrite(str(folder / name), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        height, width = rgb.shape[:2]
        images.append({"id": k, "file_name": name, "width": width, "height": height, "all_persons_boxed": True})
        annotations += [{"image_id": k, **person} for person in people]
    text = json.dumps(dataset(images, annotations, f"posecli rendered people, seed {seed}"))
    (out_dir / "annotations.json").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Walker:
    """A passer-by of the clip."""

    start_x: float  # picture pixels, when the clip begins
    ground_y: float
    speed: float  # pixels per second, negative to the left
    scale: float  # pixels per body height
    seed: int  # of the looks that are not set here
    top: Array
    skin: Array
    skirt: float = 0.0

    def at(self, time: float) -> Figure:
        """The walker after that many seconds."""
        woman, ahead = self.skirt > 0, float(np.sign(self.speed))
        outfit = random_outfit(np.random.default_rng(self.seed), woman)
        outfit = replace(outfit, top=plain(self.top), sleeves=plain(self.top), skin=self.skin, bag="", glasses="")
        if woman:
            outfit = replace(outfit, skirt=self.skirt, trouser=0.0, hem=0.0, hair_style="long")
        body = Body(head=1.02, bust=0.9 * woman, shoulder=0.092 if woman else 0.1)
        steps = abs(self.speed) * time / self.scale / 0.8  # a double step covers 0.8 body heights
        pose = walk(2 * np.pi * steps + self.seed, 24)
        pose = replace(pose, yaw=ahead * 66, head=(pose.head[0], 0, -ahead * 10))
        origin = self.start_x + self.speed * time, self.ground_y
        return Figure(body, pose, outfit, origin, self.scale, 5.0, vec(0, 0), self.seed)


# Far to near.
WALKERS = (
    Walker(-85, 318, 125, 215, 11, top=vec(0.75, 0.16, 0.14), skin=vec(0.88, 0.68, 0.54)),
    Walker(760, 333, -165, 240, 5, top=vec(0.22, 0.45, 0.62), skin=vec(0.53, 0.36, 0.26)),
    Walker(-190, 348, 185, 262, 8, top=vec(0.90, 0.78, 0.35), skin=vec(0.91, 0.72, 0.58), skirt=0.85),
)
CLIP_WH, CLIP_RATE, CLIP_FRAMES = (640, 360), 25, 118


def street(rng: np.random.Generator) -> Array:
    """The clip's backdrop: a brick wall with posters over a pavement."""
    width, height = CLIP_WH
    picture, foot = flat(height, width, vec(0.56, 0.55, 0.53)), 240
    y, x = np.mgrid[:foot, :width]
    x = x + y // 12 % 2 * 14
    bricks = rng.uniform(0.85, 1.1, (21, 30)).astype(np.float32)[y // 12, x // 28, None] * vec(0.62, 0.42, 0.34)
    picture[:foot] = blend(bricks, vec(0.72, 0.68, 0.64), ((y % 12 < 1) | (x % 28 < 1)).astype(np.float32))
    for left, tone in ((70, (0.8, 0.82, 0.75)), (300, (0.35, 0.5, 0.6)), (520, (0.75, 0.7, 0.5))):
        cv2.rectangle(picture, (left, 60), (left + 70, 160), (0.2, 0.2, 0.2), -1)
        cv2.rectangle(picture, (left + 4, 64), (left + 66, 156), tone, -1)
    picture[foot : foot + 12] = vec(0.40, 0.39, 0.38)
    picture[foot + 12 :] *= 0.9 + 0.2 * noise(rng, height - foot - 12, width, (8, 32, 64))[..., None]
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


def clip_frames() -> Iterator[tuple[NDArray[np.uint8], list[dict]]]:
    """The clip, frame by frame: (H, W, 3) RGB bytes and the people in it."""
    scene = street(np.random.default_rng(3))
    light = Light(vec(0.35, 0.65, 0.67), np.float32([0.62, 0.60, 0.56]), np.float32([0.60, 0.62, 0.66]))
    for k in range(CLIP_FRAMES):
        picture, people = compose(scene, [one.at(k / CLIP_RATE) for one in WALKERS], light, 0.5)
        picture = cv2.GaussianBlur(picture, (0, 0), 0.45)
        yield (np.clip(picture, 0, 1) * 255).round().astype(np.uint8), seen_people(people)


@main.command()
@click.argument("out_dir", type=click.Path(path_type=Path))
def clip(out_dir: Path) -> None:
    """Render OUT_DIR/walkers.mp4 and its truth, OUT_DIR/walkers.coco.json."""
    out_dir.mkdir(parents=True, exist_ok=True)
    images, annotations, (width, height) = [], [], CLIP_WH
    with av.open(str(out_dir / "walkers.mp4"), "w", options={"movflags": "faststart"}) as file:
        # One thread: x264 writes other bytes with another number of them.
        stream = file.add_stream("libx264", rate=CLIP_RATE, options={"crf": "21", "preset": "slow", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, CLIP_RATE)
        for k, (rgb, people) in enumerate(clip_frames()):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            image = {"id": k + 1, "file_name": f"walkers_{k + 1:06d}.png", "width": width, "height": height}
            images.append({**image, "frame_index": k, "time": round(k / CLIP_RATE, 3)})
            annotations += [{"image_id": k + 1, **person} for person in people]
        file.mux(stream.encode())
    text = json.dumps(dataset(images, annotations, "posecli example clip: rendered walkers with exact keypoints"))
    (out_dir / "walkers.coco.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
