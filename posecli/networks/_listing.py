"""What there is to know of networks and of files of weights, as plain values for tables and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posecli.media.files import sha256
from posecli.networks import ModelSpec, available, get_spec
from posecli.networks._checkpoints import CHECKPOINTS, Checkpoint
from posecli.networks._count import count
from posecli.networks._import import fitting
from posecli.networks._sizes import SIZES
from posecli.networks._weights import SHIPPED_LICENSE, cached_path, read_weights, shipped_path

_TASKS = {"refiner": "keypoints", "proposer": "coarse poses", "detector": "boxes"}


@dataclass(frozen=True)
class Entry:
    """A network with the weights that it would take, or one more public checkpoint of it."""

    name: str
    network: str
    task: str
    input_hw: tuple[int, int]
    params: int
    gmacs: float | None  # None where the cost depends on what is in the picture
    ap: float | None
    ap_on: str
    license: str
    bytes: int  # of the weights; those to pull have four a parameter
    where: str  # "shipped", "cached", "pull", "by hand" or "train"
    origin: str = ""  # address or page of those that are not here

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {**asdict(self), "input_hw": list(self.input_hw)}


def entries() -> Iterator[Entry]:
    """Yield networks in the zoo's order, each followed by its other public checkpoints."""
    for spec in available().values():
        yield _entry(spec, CHECKPOINTS.get(spec.name))
        for checkpoint in CHECKPOINTS.values():
            if checkpoint.network == spec.name != checkpoint.name:
                yield _entry(spec, checkpoint)


def about_network(name: str) -> dict[str, Any]:
    """Return all about a network; its size is counted, not looked up.

    Raises:
        ConfigError: there is no such network or checkpoint.
    """
    checkpoint = CHECKPOINTS.get(name)
    spec = get_spec(checkpoint.network if checkpoint else name)
    size = _counted(spec)
    facts = {**_entry(spec, checkpoint, size).as_dict(), "source": spec.source}
    facts["preprocessing"] = {
        "colour": "BGR" if spec.bgr else "RGB",
        "mean": list(spec.mean),
        "std": list(spec.std),
        "margin": list(spec.margin),
    }
    facts["decoding"] = asdict(spec.codec)
    facts["checkpoints"] = [known.name for known in CHECKPOINTS.values() if known.network == spec.name]
    return facts


def about_file(path: Path) -> dict[str, Any]:
    """Return what a file of weights holds and which networks it fits.

    Raises:
        WeightsError: it holds no weights, or more than weights.
    """
    file = read_weights(path)
    kinds = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in file.tensors.values())
    names = list(file.tensors)
    digest = sha256(path)
    known = [one.name for one in CHECKPOINTS.values() if one.sha256_prefix and digest.startswith(one.sha256_prefix)]
    return {
        "file": str(path),
        "format": "safetensors" if file.safe else "PyTorch pickle",
        "bytes": path.stat().st_size,
        "sha256": digest,
        "checkpoint": known,
        "params": file.num_params,
        "tensors": len(names),
        "kinds": dict(kinds),
        "first": _shapes(file.tensors, names[:3]),
        "last": _shapes(file.tensors, names[-3:]),
        "fits": fitting(file),
        "metadata": file.metadata,
    }


def _shapes(tensors: dict[str, Any], names: list[str]) -> dict[str, str]:
    return {name: "x".join(map(str, tensors[name].shape)) or "number" for name in names}


def _entry(spec: ModelSpec, checkpoint: Checkpoint | None, size: tuple[int, float | None] | None = None) -> Entry:
    name = checkpoint.name if checkpoint else spec.name
    params, gmacs = size or SIZES.get(spec.name) or _counted(spec)
    where, path = _whereabouts(spec, checkpoint)
    return Entry(
        name=name,
        network=spec.name,
        task=_TASKS[spec.kind],
        input_hw=spec.input_hw,
        params=params,
        gmacs=gmacs,
        ap=checkpoint.ap if checkpoint else spec.reported_ap,
        ap_on=checkpoint.ap_on if checkpoint else spec.reported_on,
        license=checkpoint.license if checkpoint else (SHIPPED_LICENSE if where == "shipped" else spec.license),
        bytes=path.stat().st_size if path else 4 * params,
        where=where,
        origin=(checkpoint.url or checkpoint.page) if checkpoint and not path else "",
    )


def _counted(spec: ModelSpec) -> tuple[int, float | None]:
    size = count(spec)
    return size.params, round(size.gmacs, 3)


def _whereabouts(spec: ModelSpec, checkpoint: Checkpoint | None) -> tuple[str, Path | None]:
    name = checkpoint.name if checkpoint else spec.name
    if name == spec.name and (shipped := shipped_path(name)):
        return "shipped", shipped
    if (cached := cached_path(name)).is_file():
        return "cached", cached
    if checkpoint is None:
        return "train", None
    return ("pull" if checkpoint.url else "by hand"), None
