"""Public checkpoints made ours: fetched, put into our names, with their conventions as metadata."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from torch import Tensor

from posecli.errors import ConfigError, WeightsError
from posecli.media.download import Progress, download
from posecli.media.files import sha256
from posecli.networks import available, get_spec
from posecli.networks._checkpoints import CHECKPOINTS, Checkpoint
from posecli.networks._conventions import KEY, to_metadata
from posecli.networks._foreign import fit, layout_of
from posecli.networks._weights import (
    WeightsFile,
    cache_folder,
    cached_path,
    check_finite,
    read_weights,
    save_tensors,
    shipped_path,
)

_DIGEST = "tensors_sha256"  # of the metadata


@dataclass(frozen=True)
class Imported:
    """Public weights that are ours now."""

    path: Path
    network: str
    layout: str  # whose names they had
    dropped: Counter[str] = field(default_factory=Counter)  # tensors left out, by reason
    fetched: bool = True  # False: they were in the cache already


@dataclass(frozen=True)
class Verdict:
    """What became of checking one file."""

    path: Path
    network: str
    sha256: str
    problem: str = ""  # empty: whole


def pull(name: str, *, url: str = "", progress: Progress | None = None) -> Imported:
    """Fetch a public checkpoint, check its hash, import it into the cache.

    Args:
        name: of the checkpoint, a key of `CHECKPOINTS`.
        url: a mirror of the publisher's file.
        progress: see `media.download`.

    Raises:
        ConfigError: no such checkpoint.
        WeightsError: it cannot be fetched, is not the publisher's file, or does not fit.
    """
    checkpoint = _checkpoint(name)
    target = cached_path(name)
    if target.is_file() and not verify(target, checkpoint.network).problem:
        return Imported(target, checkpoint.network, checkpoint.layout, fetched=False)
    if not (url or checkpoint.url):
        raise WeightsError(
            f"{name}: its publisher offers {checkpoint.file_name or 'it'} on a page for browsers only, "
            f"{checkpoint.page}; fetch it there, then: posecli weights import FILE --as {name}"
        )
    source = url or checkpoint.url
    fetched = cache_folder() / "downloads" / (checkpoint.file_name or f"{name}.pth")
    prefix = checkpoint.sha256_prefix
    if not (prefix and fetched.is_file() and sha256(fetched).startswith(prefix)):
        download(source, fetched, sha256_prefix=prefix, progress=progress)
    imported = import_file(fetched, name, source=source)
    fetched.unlink()
    return imported


def import_file(path: Path, name: str, out: Path | None = None, *, source: str = "") -> Imported:
    """Put a public checkpoint into our names and save it as safetensors, in the precision that it has.

    Args:
        path: a `.pth` or safetensors file.
        name: of a checkpoint or of a network.
        out: where to; the cache if omitted, from where `load_network` takes it.
        source: where the file is from, for the metadata; its name if empty.

    Raises:
        ConfigError: no such network.
        WeightsError: not weights, or of another network.
    """
    checkpoint = CHECKPOINTS.get(name)
    spec = get_spec(checkpoint.network if checkpoint else name)
    file = read_weights(path)
    try:
        fitted = fit(file, spec, dark=checkpoint.dark if checkpoint else None)
    except WeightsError as error:
        others = [other for other in fitting(file) if other != spec.name]
        raise WeightsError(f"{error}; it fits {' and '.join(others)}" if others else str(error)) from error
    check_finite(fitted.tensors, where=str(path))
    facts = {
        "network": spec.name,
        "layout": fitted.layout or file.metadata.get("layout", ""),
        "source": source or path.name,
        "source_sha256": sha256(path),
        "license": checkpoint.license if checkpoint else "",
        KEY: to_metadata(fitted.spec),
        _DIGEST: _digest(fitted.tensors),
    }
    out = out or cached_path(name)
    save_tensors(fitted.tensors, out, {key: value for key, value in facts.items() if value})
    return Imported(out, spec.name, fitted.layout, fitted.dropped)


def fitting(file: WeightsFile) -> list[str]:
    """Name the networks whose weights a file holds, by keys and shapes; networks of one shape are all named."""
    names = []
    for spec in available().values():
        claimed = file.metadata.get("network")
        if claimed == spec.name or (claimed is None and layout_of(file.tensors, spec.name)):
            try:
                fit(file, spec)
            except WeightsError:
                continue
            names.append(spec.name)
    return names


def verify(path: Path, network: str = "") -> Verdict:
    """Check a file of our weights: its hash where one is recorded, every key, shape and number.

    The hash of what comes with posecli stands in the README beside it; an imported file carries that of its tensors.

    Args:
        path: a safetensors file.
        network: whose weights it holds; as its metadata say if empty.
    """
    try:
        file = read_weights(path)
        network = network or file.metadata.get("network", path.stem)
        fitted = fit(file, get_spec(network))
        check_finite(fitted.tensors, where=str(path))
    except (WeightsError, ConfigError) as error:
        return Verdict(path, network, sha256(path) if path.is_file() else "", str(error))
    digest, recorded = sha256(path), _recorded(path)
    if not digest.startswith(recorded):
        return Verdict(path, network, digest, f"SHA-256 starts {digest[: len(recorded)]}, expected {recorded}")
    if file.metadata.get(_DIGEST, own := _digest(file.tensors)) != own:
        return Verdict(path, network, digest, "its numbers have changed since it was imported; pull or import it again")
    return Verdict(path, network, digest)


def known_files() -> list[Path]:
    """Return the files of weights on this machine: shipped and cached."""
    shipped = (shipped_path(name) for name in available())
    return [path for path in shipped if path] + sorted(cached_path("any").parent.glob("*.safetensors"))


def _recorded(path: Path) -> str:
    """Return the start of a shipped file's SHA-256 that the README beside it states; "" where there is none."""
    readme = path.with_name("README.md")
    text = readme.read_text("utf-8") if readme.is_file() else ""
    found = re.search(rf"`{re.escape(path.name)}` \| `([0-9a-f]{{8,64}})`", text)
    return found[1] if found else ""


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, kinds, shapes and numbers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _checkpoint(name: str) -> Checkpoint:
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    if others := [one.name for one in CHECKPOINTS.values() if one.network == name]:
        raise WeightsError(f"{name}: of several public weights, name one: {', '.join(others)}")
    if name in available():
        ours = "it comes with posecli" if shipped_path(name) else "train it with posecli train"
        raise WeightsError(f"{name}: nobody publishes weights for it that posecli knows of; {ours}")
    near = get_close_matches(name, CHECKPOINTS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(CHECKPOINTS)}"
    raise ConfigError(f"unknown checkpoint {name!r}; {hint}")
