"""The flow of a frame: propose, filter by coarse pose, refine, merge. Batched across frames, order kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecli.backends.engine import run_in_onnx
from posecli.backends.export import can_be_exported
from posecli.backends.onnx import PREFIX as ONNX
from posecli.backends.onnx import load_onnx, onnx_path
from posecli.backends.sessions import falls_back
from posecli.config import PipelineConfig, RefineConfig
from posecli.errors import ConfigError, WeightsError
from posecli.media.boxes import BoxFile
from posecli.media.files import sha256
from posecli.networks import ModelSpec, get_spec, join_rectifiers, load_network, random_network
from posecli.networks._weights import digest, find_weights
from posecli.records import Annotated, Candidates, Frame, Poses, Proposals
from posecli.runtime import DTYPES, Reduced, Uploader, has_own_memory, make_current, resolve_device, resolve_precision
from posecli.stages.batches import no_memory_left
from posecli.stages.coarse_filter import filter_proposals, suppress_boxes
from posecli.stages.detect import BoxSource, Detector, JudgedBoxes, Pending, ProposalSource, Proposer, pictures
from posecli.stages.merge import merge
from posecli.stages.refine import Found, Refiner

_LEAST_PEAK = 1e-3  # no coarse keypoint scores less, whatever the configuration says
RANDOM_WEIGHTS = "random"  # recorded where a network's SHA-256 would be


@dataclass(frozen=True)
class Pipeline:
    """The stages, loaded and on their device."""

    proposer: ProposalSource
    refiner: Refiner
    config: PipelineConfig
    weights: dict[str, str] = field(default_factory=dict)  # each network's SHA-256, or `RANDOM_WEIGHTS`, by name
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


def random_warning(weights: dict[str, str]) -> str:
    """Say which networks have random weights; empty if none has.

    Args:
        weights: as `Pipeline.weights`.
    """
    names = [name for name, found in weights.items() if found == RANDOM_WEIGHTS]
    return f"random weights ({', '.join(names)}): these poses mean nothing" if names else ""


class _Loader:
    """Loads networks onto one device and remembers which weights they got.

    Args:
        device: as in `runtime.resolve_device`.
        weights: files by network name, for networks that shall not use those that come with posecli.
        allow_random: networks without weights get random ones, always the same.
        engine: one of `config.ENGINES`, for networks of the zoo.
        precision: one of `config.PRECISIONS`, for networks in torch.
    """

    def __init__(
        self, device: str, weights: dict[str, Path] | None, *, allow_random: bool, engine: str, precision: str
    ) -> None:
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device) if engine == "torch" else "fp32"
        self.used: dict[str, str] = {}  # by network name
        self.networks: dict[str, nn.Module] = {}
        self.notes: list[str] = []  # what there is to say, a line each
        self._given, self._allow_random, self._engine = dict(weights or {}), allow_random, engine

    def __call__(self, name: str, *kinds: str) -> tuple[nn.Module, ModelSpec]:
        """Load a network of one of these kinds."""
        self.networks[name], spec = self._load(name, kinds)
        return self.networks[name], spec

    def _load(self, name: str, kinds: Sequence[str]) -> tuple[nn.Module, ModelSpec]:
        if name.startswith(ONNX):
            self.used[name] = sha256(onnx_path(name))
            return self._noting(name, load_onnx(name, device=self.device, kinds=kinds))
        spec = get_spec(name)
        if spec.kind not in kinds:
            raise ConfigError(f"{name} is a {spec.kind}, wanted a {' or '.join(kinds)}")
        load = self._in_torch(spec)
        if self._engine == "torch":
            return self._for_inference(*load())
        if not can_be_exported(spec):
            self.notes.append(f"{name} runs in torch: ONNX files are made of refiners and proposers")
            return load()
        return self._noting(name, run_in_onnx(load, name=name, digest=self.used[name], device=self.device, kinds=kinds))

    def _noting(self, name: str, loaded: tuple[nn.Module, ModelSpec]) -> tuple[nn.Module, ModelSpec]:
        """Note where ONNX Runtime runs a network, if not on the device."""
        if why := falls_back(self.device):
            self.notes.append(f"{name} {why}")
        return loaded

    def _for_inference(self, network: nn.Module, spec: ModelSpec) -> tuple[nn.Module, ModelSpec]:
        """Make a network of the zoo fast, and compute in less precision where that is wanted."""
        precision = "fp32" if spec.kind == "detector" else self.precision  # detectors do more inside than convolve
        if not has_own_memory(self.device):
            join_rectifiers(network, DTYPES[precision])
        return network if precision == "fp32" else Reduced(network, self.device, precision), spec

    def _in_torch(self, spec: ModelSpec) -> Callable[[], tuple[nn.Module, ModelSpec]]:
        """Note which weights a network gets; return what builds it with these."""
        path = self._given.get(spec.name)
        try:
            path = path or find_weights(spec.name)
        except WeightsError:
            if not self._allow_random:
                raise
            self.used[spec.name] = RANDOM_WEIGHTS
            return lambda: (random_network(spec), spec)
        self.used[spec.name] = digest(path)
        return lambda: load_network(spec.name, path)

    def refuse_unused(self) -> None:
        """Say so if weights were given for a network that nobody asked for."""
        if unused := sorted(self._given.keys() - self.used.keys()):
            raise ConfigError(f"weights given for {unused[0]}, but the networks are {' and '.join(self.used)}")


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
    load = _Loader(device, weights, allow_random=allow_random, engine=engine, precision=precision)
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
    load = _Loader(device, weights, allow_random=allow_random, engine=config.engine, precision=config.precision)
    boxes = BoxFile(Path(config.detect.boxes)) if config.detect.boxes else None
    proposer, refiner = _proposals(config, boxes, load), _refiner(config.refine, load)
    load.refuse_unused()
    # with what it left to the weights and to the machine: the record says all
    config = replace(config, refine=refiner.config, precision=load.precision)
    return Pipeline(
        proposer, refiner, config, load.used, boxes, load.networks, tuple(load.notes), replicas=tuple(replicas)
    )


def _refiner(config: RefineConfig, load: _Loader) -> Refiner:
    members = [load(name, "refiner") for name in config.members]
    posefix = load(config.posefix, "refiner") if config.posefix else None
    return Refiner(members, config, load.device, posefix=posefix)


def _proposals(config: PipelineConfig, boxes: BoxFile | None, load: _Loader) -> ProposalSource:
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


def _proposer(network: nn.Module, spec: ModelSpec, config: PipelineConfig, load: _Loader) -> Proposer:
    filtering = config.filtering
    least = max(filtering.min_coarse_score, _LEAST_PEAK) if filtering.filter else None
    return Proposer(network, spec, config.detect, load.device, min_peak_score=least)
