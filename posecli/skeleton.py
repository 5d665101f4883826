"""The COCO person: 17 keypoints, their order, edges, mirror partners and tolerances.

Source: COCO `person_keypoints_val2017.json` (names, skeleton) and pycocotools `Params` (OKS sigmas).
"""

KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
NUM_KEYPOINTS = len(KEYPOINTS)

# Edges as indexes into KEYPOINTS, in COCO's own order; COCO files count from 1. They are also the limbs of the part
# affinity fields: two edges more than a tree needs per body half make grouping robust to one missing keypoint.
EDGES = (
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
)
COCO_SKELETON = tuple((a + 1, b + 1) for a, b in EDGES)

# Keypoint k of a mirrored picture is keypoint MIRROR[k] of the person.
MIRROR = tuple(
    KEYPOINTS.index(name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_"))
    for name in KEYPOINTS
)

# Per-keypoint OKS constants, as fractions of sqrt(area).
OKS_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
    0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip

UPPER_BODY = tuple(range(11))
LOWER_BODY = tuple(range(11, 17))

# DetPoseNet Fig. 7 draws MPII's skeleton. COCO has no thorax, pelvis or head top, so the nose stands for the head and
# both shoulders and both hips for thorax and pelvis.
STRUCTURE_PAIRS = (
    (0, 5), (0, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14),
    (14, 16),
)  # fmt: skip
# Elbows and knees have two physical connections and are judged with both.
STRUCTURE_TRIPLETS = ((5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16))
