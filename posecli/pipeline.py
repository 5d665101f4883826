"""The flow of a frame: propose, filter by coarse pose, refine, merge. Batched across frames, order kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecli.backends.loading import Loader, random_warning
from posecli.backends.onnx import PREFIX as ONNX
from posecli.config import PipelineConfig, RefineConfig
from posecli.media.boxes import BoxFile
from posecli.networks import ModelSpec, get_spec
from posecli.records import Annotated, Candidates, Frame, Poses, Proposals
from posecli.runtime import Uploader, has_own_memory, make_current
from posecli.stages.batches import no_memory_left
from posecli.stages.coarse_filter import filter_proposals, suppress_boxes
from posecli.stages.detect import BoxSource, Detector, JudgedBoxes, Pending, ProposalSource, Proposer, pictures
from posecli.stages.merge import merge
from posecli.stages.refine import Found, Refiner

_LEAST_PEAK = 1e-3  # no coarse keypoint scores less, whatever the configuration says


@dataclass(frozen=True)
class Pipeline:
    """The stages, loaded and on their device."""

    proposer: ProposalSource
    refiner: Refiner
    config: PipelineConfig
    weights: dict[str, str] = field(default_factory=dict)  # each network's SHA-256 by name, see `Loader.used`
    boxes: BoxFile | None = None  # where the user brought the boxes
    networks: dict[str, nn.Module] = field(default_factory=dict)  # all that the stages run, by name
    loading_notes: tuple[str, ...] = ()  # what there was to say of the networks, a line each
    replicas: tuple[Pipeline, ...] = ()  # the same on other devices, for those who share batches out

    def provenance(self) -> dict[str, Any]:
        """Return what decides which poses come out, as every output records it."""
        record: dict[str, Any] = {"networks": self.weights, "config": asdict(self.config)}
        if self.boxes is not None:
            record["boxes"] = {"file": self.boxes.path.name, "sha256": self.boxes.sha256}
        return record

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.refiner.device

    @property
    def warning(self) -> str:
        """What everybody who sees a result has to know; empty if there is nothing."""
        return random_warning(self.weights)

    def notes(self) -> tuple[str, ...]:
        """Return what there is to say after a run, a line each."""
        notes = [*self.loading_notes, self.warning] if self.warning else list(self.loading_notes)
        if self.boxes is not None and self.boxes.missing:
            count = self.boxes.missing
            notes.append(f"{self.boxes.path}: does not know {count} of the frames; nobody is found on them")
        notes += [batches.note for batches in (*self.proposer.batches, self.refiner.batches) if batches.note]
        notes += [note for replica in self.replicas for note in replica.notes()]
        return tuple(dict.fromkeys(notes))

    @torch.inference_mode()
    def run(self, frames: Iterable[Frame]) -> Iterator[Annotated]:
        """Yield each frame with its people, in the order the frames came; nothing is kept of a yielded frame.

        A device of its own has the next batches in hand while the CPU filters and merges what it found before.

        Raises:
            DeviceError: the device's memory does not even do for one frame or crop.
        """
        make_current(self.device)
        ahead = 1 if has_own_memory(self.device) else 0
        upload = Uploader(self.device)
        proposed = (self._propose(batch, upload) for batch in _batches(frames, self.config.batch_frames))
        refined = (self._refine(batch) for batch in _later(proposed, ahead))
        for batch in _later(refined, ahead):
            yield from self._conclude(batch)

    def select(self, proposals: Proposals, image_wh: tuple[int, int]) -> Candidates:
        """Decide which proposals the refiner looks at."""
        config = self.config.filtering
        if not config.filter:
            return suppress_boxes(proposals, config)
        return filter_proposals(proposals, config, image_wh=image_wh)

    def _propose(self, frames: list[Frame], upload: Uploader) -> _Batch:
        """Give the device the frames."""
        seen = [frame for frame in frames if frame.image is not None]
        with no_memory_left(self.device):
            images = upload(pictures(seen))
            there = [replace(frame, image=image) for frame, image in zip(seen, images, strict=True)]
            return _Batch(frames, seen, images, self.proposer.start(there))

    def _refine(self, batch: _Batch) -> _Batch:
        """Filter what was proposed, and give the device what is left."""
        proposals = batch.proposing()
        people = [
            self.select(proposed, (frame.width, frame.height))
            for frame, proposed in zip(batch.seen, proposals, strict=True)
        ]
        boxes = [candidates.boxes for candidates in people]
        with no_memory_left(self.device):
            refining = self.refiner.start(batch.images, boxes, batch=self.config.batch_crops)
        done = replace(batch, images=[], proposing=list)  # the device's memory is wanted for the next batches
        return replace(done, proposals=proposals, people=people, refining=refining)

    def _conclude(self, batch: _Batch) -> Iterator[Annotated]:
        done = {
            frame.index: Annotated(
                frame=frame,
                poses=merge(people, points, scores, self.config.merge),
                refiner_runs=len(people),
                rejections=people.rejections,
                proposal_boxes=proposals.boxes,
                proposal_scores=proposals.box_scores,
            )
            for frame, proposals, people, (points, scores) in zip(
                batch.seen, batch.proposals, batch.people, batch.refining(), strict=True
            )
        }
        for frame in batch.frames:
            yield done.get(frame.index) or Annotated(frame=frame, poses=Poses.empty(), refiner_runs=0)


@dataclass(frozen=True)
class _Batch:
    """Frames on their way through the stages."""

    frames: list[Frame]
    seen: list[Frame]  # those with pictures
    images: list[Tensor]  # of those, on the device
    proposing: Pending
    proposals: list[Proposals] = field(default_factory=list)
    people: list[Candidates] = field(default_factory=list)
    refining: Callable[[], list[Found]] = list


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    source = iter(frames)
    while batch := list(islice(source, size)):
        yield batch


def _later(batches: Iterator[_Batch], ahead: int) -> Iterator[_Batch]:
    """Yield batches when so many others have come behind them; what goes wrong with these comes after them."""
    waiting: deque[_Batch] = deque()
    try:
        for batch in batches:
            waiting.append(batch)
            if len(waiting) > ahead:
                yield waiting.popleft()
    except Exception:
        yield from waiting
        raise
    yield from waiting


def load_refiner(
    config: RefineConfig,
    *,
    engine: str = PipelineConfig.engine,
    precision: str = PipelineConfig.precision,
    device: str = "auto",
    weights: dict[str, Path] | None = None,
    allow_random: bool = False,
) -> tuple[Refiner, tuple[str, ...]]:
    """Load the refinement networks alone; see `load_pipeline`. Also return what there is to say, a line each."""
    load = Loader(device, weights, allow_random=allow_random, engine=engine, precision=precision)
    refiner = _refiner(config, load)
    warning = random_warning(load.used)
    return refiner, (*load.notes, warning) if warning else tuple(load.notes)


def load_pipeline(
    config: PipelineConfig,
    *,
    device: str = "auto",
    weights: dict[str, Path] | None = None,
    allow_random: bool = False,
) -> Pipeline:
    """Load the networks that a configuration needs, and the user's boxes.

    Args:
        config: see there.
        device: "auto", "cpu", "cuda" or "cuda:N"; several, with commas between, make a pipeline with replicas.
        weights: files by network name, for networks that shall not use those that come with posecli.
        allow_random: run networks without weights with random ones: to try a pairing out, its poses mean nothing.

    Raises:
        ConfigError: an unknown network or device, or a network of the wrong kind.
        DeviceError: the device is not there.
        InputError: the file of boxes is missing or damaged.
        WeightsError: weights are missing, damaged or another network's.
    """
    for name in (config.detect.detector, config.detect.proposer, *config.refine.networks):
        if not name.startswith(ONNX):
            get_spec(name)  # a misspelt name shows before anything is loaded
    device, *others = device.split(",")
    replicas = [load_pipeline(config, device=other, weights=weights, allow_random=allow_random) for other in others]
    load = Loader(device, weights, allow_random=allow_random, engine=config.engine, precision=config.precision)
    boxes = BoxFile(Path(config.detect.boxes)) if config.detect.boxes else None
    proposer, refiner = _proposals(config, boxes, load), _refiner(config.refine, load)
    load.refuse_unused()
    # with what it left to the weights and to the machine: the record says all
    config = replace(config, refine=refiner.config, precision=load.precision)
    return Pipeline(
        proposer, refiner, config, load.used, boxes, load.networks, tuple(load.notes), replicas=tuple(replicas)
    )


def _refiner(config: RefineConfig, load: Loader) -> Refiner:
    members = [load(name, "refiner") for name in config.members]
    posefix = load(config.posefix, "refiner") if config.posefix else None
    return Refiner(members, config, load.device, posefix=posefix)


def _proposals(config: PipelineConfig, boxes: BoxFile | None, load: Loader) -> ProposalSource:
    """Load what gives the boxes, and beside it, if the filter is on, what gives the coarse keypoints."""
    detect = config.detect
    source: BoxSource | None = boxes
    if source is None:
        network, spec = load(detect.detector, "proposer", "detector")
        if spec.kind == "proposer":
            return _proposer(network, spec, config, load)
        source = Detector(network, load.device)
    proposer = _proposer(*load(detect.proposer, "proposer"), config, load) if config.filtering.filter else None
    return JudgedBoxes(source, proposer, detect)


def _proposer(network: nn.Module, spec: ModelSpec, config: PipelineConfig, load: Loader) -> Proposer:
    filtering = config.filtering
    least = max(filtering.min_coarse_score, _LEAST_PEAK) if filtering.filter else None
    return Proposer(network, spec, config.detect, load.device, min_peak_score=least)
