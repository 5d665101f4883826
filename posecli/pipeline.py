"""The flow of a frame: propose, filter by coarse pose, refine, merge. Batched across frames, order kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch

from posecli.config import PipelineConfig, RefineConfig
from posecli.errors import ConfigError, DeviceError
from posecli.networks import get_spec, load_network
from posecli.networks._weights import find_weights, sha256
from posecli.records import Annotated, Candidates, Frame, Poses, Proposals
from posecli.runtime import resolve_device
from posecli.stages.coarse_filter import filter_proposals, suppress_boxes
from posecli.stages.detect import Proposer
from posecli.stages.merge import merge
from posecli.stages.refine import Refiner


@dataclass(frozen=True)
class Pipeline:
    """The stages, loaded and on their device."""

    proposer: Proposer
    refiner: Refiner
    config: PipelineConfig
    weights: dict[str, str] = field(default_factory=dict)  # SHA-256 of each network's weights, by network name

    @torch.inference_mode()
    def run(self, frames: Iterable[Frame]) -> Iterator[Annotated]:
        """Yield each frame with its people, in the order the frames came; nothing is kept of a yielded frame.

        Raises:
            DeviceError: the device's memory is too small for the batches.
        """
        source = iter(frames)
        while batch := list(islice(source, self.config.batch_frames)):
            try:
                done = list(self._annotate(batch))
            except torch.OutOfMemoryError as error:
                crops = self.config.batch_crops
                raise DeviceError(
                    f"out of memory on {self.refiner.device} at --batch {crops}; try --batch {max(1, crops // 2)}"
                ) from error
            yield from done

    def select(self, proposals: Proposals, image_wh: tuple[int, int]) -> Candidates:
        """Decide which proposals the refiner looks at."""
        config = self.config.filtering
        if not config.filter:
            return suppress_boxes(proposals, config)
        return filter_proposals(proposals, config, image_wh=image_wh)

    def _annotate(self, frames: list[Frame]) -> Iterator[Annotated]:
        seen = [(frame, frame.image) for frame in frames if frame.image is not None]
        images = [image for _, image in seen]
        proposed = self.proposer(images)
        chosen = [
            self.select(proposals, (frame.width, frame.height))
            for (frame, _), proposals in zip(seen, proposed, strict=True)
        ]
        refined = self.refiner(images, [people.boxes for people in chosen], batch=self.config.batch_crops)
        done = {
            frame.index: Annotated(
                frame=frame,
                poses=merge(people, points.cpu(), scores.cpu(), self.config.merge),
                refiner_runs=len(people),
                rejections=people.rejections,
                proposal_boxes=proposals.boxes.cpu(),
                proposal_scores=proposals.box_scores.cpu(),
            )
            for (frame, _), proposals, people, (points, scores) in zip(seen, proposed, chosen, refined, strict=True)
        }
        for frame in frames:
            yield done.get(frame.index) or Annotated(frame=frame, poses=Poses.empty(), refiner_runs=0)


def load_refiner(config: RefineConfig, *, device: str = "auto", weights: dict[str, Path] | None = None) -> Refiner:
    """Load the refinement network alone; see `load_pipeline`."""
    place = resolve_device(device)
    network, spec = load_network(config.refiner, (weights or {}).get(config.refiner), kind="refiner")
    return Refiner(network, spec, config, place)


def load_pipeline(config: PipelineConfig, *, device: str = "auto", weights: dict[str, Path] | None = None) -> Pipeline:
    """Load both networks.

    Args:
        config: see there.
        device: "auto", "cpu", "cuda" or "cuda:N".
        weights: files by network name, for networks that shall not use those that come with posecli.

    Raises:
        ConfigError: an unknown network or device, or a network of the wrong kind.
        DeviceError: the device is not there.
        WeightsError: weights are missing, damaged or another network's.
    """
    place = resolve_device(device)
    given = dict(weights or {})
    names = (config.detect.detector, config.refine.refiner)
    for name in names:
        get_spec(name)  # a misspelt name shows before anything is loaded
    if unused := sorted(given.keys() - set(names)):
        raise ConfigError(f"weights given for {unused[0]}, but the networks are {' and '.join(names)}")
    network, spec = load_network(config.detect.detector, given.get(config.detect.detector), kind="proposer")
    files = {name: given.get(name) or find_weights(name) for name in names}
    return Pipeline(
        Proposer(network, spec, config.detect, place),
        load_refiner(config.refine, device=device, weights=given),
        config,
        {name: sha256(path) for name, path in files.items()},
    )
