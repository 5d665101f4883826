"""As much of a pipeline as the engines need: no networks, and poses that tell the frame."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import islice

import torch

from posecli.config import PipelineConfig
from posecli.records import Annotated, Poses, Rejection


def one_person(frame):
    """Somebody whose place tells the frame's index."""
    left, top = float(frame.index % 40), 5 + frame.index % 7 + 0.37
    keypoints = torch.tensor([[left + k, top + k * 1.33] for k in range(17)])[None]
    scores = torch.linspace(0.05, 0.95, 17)[None]
    return Poses(torch.tensor([[left, top, left + 20, top + 30]]), keypoints, scores, torch.ones(1), ("proposal",))


@dataclass
class OnePersonPerFrame:
    """Finds one person in every frame; remembers the batches that it was given."""

    config: PipelineConfig = field(default_factory=PipelineConfig)
    weights: dict = field(default_factory=dict)
    fails_at: int = -1
    error: BaseException = field(default_factory=lambda: ZeroDivisionError("bug"))
    batches: list = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    replicas: tuple = ()

    def notes(self):
        return ()

    def provenance(self):
        return {"networks": self.weights, "config": asdict(self.config)}

    def run(self, frames):
        frames = iter(frames)
        while batch := list(islice(frames, self.config.batch_frames)):
            self.batches.append([frame.index for frame in batch])
            for frame in batch:
                if frame.index == self.fails_at:
                    raise self.error
                poses = Poses.empty() if frame.image is None else one_person(frame)
                rejections = (Rejection((1.234, 2.345, 11.111, 20.202), 0.25, "same_pose", 4),)
                yield Annotated(frame=frame, poses=poses, refiner_runs=2 * len(poses), rejections=rejections)
