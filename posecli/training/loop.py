"""One training loop for every network: warm-up and schedule, EMA, exact resume, JSON log.

Data order and augmentation depend on the seed and the step alone, so a resumed run sees what an uninterrupted one
would have seen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from posecli.config import TrainConfig, train_config_from
from posecli.errors import ConfigError, InputError
from posecli.networks import ModelSpec, get_spec
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._weights import save_weights
from posecli.runtime import Workers, half_precision, place
from posecli.training.optimizers import make_optimizers
from posecli.training.phases import Phase, phases_of
from posecli.training.run_folder import RunFolder
from posecli.training.start import begin
from posecli.training.tasks import Task

Evaluate = Callable[[nn.Module], dict[str, float]]
Report = Callable[[dict[str, Any]], None]

_CHECKPOINT = "checkpoint.pt"
_ORDER, _AUGMENT, _WORKER = 1_000_003, 7_919, 104_729  # primes that keep the streams of random numbers apart


@dataclass
class Run:
    """A run's state: what a checkpoint holds."""

    network: nn.Module
    ema: nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    best: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


def batch_index(step: int, *, samples: int, batch: int, seed: int) -> Tensor:
    """Return the (batch,) sample numbers of a step: every epoch a permutation of its own, cut into batches."""
    per_epoch = max(1, samples // batch)
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * _ORDER + epoch)
    order = torch.randperm(samples, generator=generator)
    return order[place * batch : (place + 1) * batch]


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the factor of the learning rate: linear warm-up, then constant, or a cosine or two steps to 1%."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        return 1.0 if step < 0.7 * config.steps else 0.1 if step < 0.9 * config.steps else 0.01
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer:
    """Trains one network with one task."""

    def __init__(
        self,
        config: TrainConfig,
        spec: ModelSpec,
        task: Task,
        *,
        start: Mapping[str, Tensor],  # empty: random weights
        folder: Path,
        workers: Workers,
    ) -> None:
        self.config, self.spec, self.task, self.folder, self.device = config, spec, task, folder, workers.device
        self.workers, self.checkpoint, self.files = workers, folder / _CHECKPOINT, RunFolder(folder)
        if config.batch % workers.count:
            raise ConfigError(f"a batch of {config.batch} cannot be shared equally by {workers.count} processes")
        self.phases = phases_of(config, task.datasets)
        torch.manual_seed(config.seed)
        network = place(spec.build(), workers.device)
        if start:
            begin(network, start, spec, self._batch(0, 64)["images"])
        trunk = getattr(network, "trunk", None)
        if isinstance(trunk, MobileNetV2) and start:  # random blocks have nothing to keep
            trunk.freeze(config.frozen_blocks)
        ema = place(spec.build(), workers.device).requires_grad_(False).eval()
        ema.load_state_dict(network.state_dict())
        self.run = Run(network, ema, make_optimizers(network, self.phases[0].config))
        self._parallel = workers.spread(network)

    def _batch(self, step: int, size: int | None = None) -> dict[str, Tensor]:
        config, phase, workers = self.config, self._phase(step), self.workers
        size = min(size or config.batch, len(phase.samples))
        place = batch_index(step - phase.first, samples=len(phase.samples), batch=size, seed=config.seed)
        generator = torch.Generator().manual_seed(config.seed * _ORDER + step * _AUGMENT + workers.rank * _WORKER)
        small = config.small_hw is not None and step < config.small_until * config.steps
        hw = config.small_hw if small and config.small_hw else config.input_hw or self.spec.input_hw
        return self.task.batch(workers.share(phase.samples[place]), generator, hw)

    def _phase(self, step: int) -> Phase:
        """Return the phase that a step belongs to."""
        return [phase for phase in self.phases if phase.first <= step][-1]

    def resume(self) -> None:
        """Go on from the folder's checkpoint.

        Raises:
            ConfigError: there is none, or it was made with another configuration.
        """
        if not self.checkpoint.is_file():
            raise ConfigError(f"{self.checkpoint}: no checkpoint to resume; leave --resume out to start")
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        made_with = _plain(train_config_from(state["config"], str(self.checkpoint)))  # what it lacks has its default
        if made_with != _plain(self.config):
            changed = [key for key, value in _plain(self.config).items() if made_with[key] != value]
            raise ConfigError(f"{self.checkpoint}: made with another configuration ({', '.join(changed)} differ)")
        run = self.run
        run.network.load_state_dict(state["network"])
        run.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name in ("step", "samples", "seconds", "best", "history"):
            setattr(run, name, state[name])

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        run = self.run
        state = {name: getattr(run, name) for name in ("step", "samples", "seconds", "best", "history")}
        state |= {name: getattr(run, name).state_dict() for name in ("network", "ema")}
        state["optimizers"] = [optimizer.state_dict() for optimizer in run.optimizers]
        state["config"] = _plain(self.config)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def export(self, path: Path, **metadata: str) -> None:
        """Write the averaged weights as safetensors."""
        run = self.run
        save_weights(run.ema, path, {**_facts(self.config, run.step, run.samples), **metadata})

    def fit(
        self,
        *,
        evaluate: Evaluate | None,
        report: Report,
        minutes: float | None = None,
        config_file: Path | None = None,
    ) -> bool:
        """Train to the last step, or for some minutes, and write a checkpoint.

        Args:
            evaluate: measures the averaged network; its "score" decides which weights are kept as best.
            report: gets every log record.
            minutes: stop after so many, to be resumed.
            config_file: where the configuration came from; its git commit is written down.

        Returns:
            Whether the last step is done.
        """
        if self.workers.first:
            self.files.begin(self.config, config_file, done=self.run.step)
        run, config = self.run, self.config
        started = saved = evaluated = time.monotonic()
        before = run.seconds
        last = math.inf if minutes is None else started + 60 * minutes
        while run.step < config.steps and not self._stops(last):
            losses = self._step()
            now = time.monotonic()
            run.seconds = before + now - started
            if not self.workers.first:
                continue
            if run.step % 20 == 0 or run.step == config.steps:
                self._log({"losses": {name: round(float(value), 5) for name, value in losses.items()}}, report)
            if now - saved > 60 * config.checkpoint_minutes:
                self.save()
                saved = now
            if evaluate and (now - evaluated > 60 * config.eval_minutes or run.step == config.steps):
                self._evaluate(evaluate, report)
                evaluated = time.monotonic()
        if self.workers.first:
            self.save()
            self.files.write_curves()
        return run.step == config.steps

    def _stops(self, last: float) -> bool:
        """Say whether the time is up; clocks differ, so all processes decide together."""
        return last < math.inf and self.workers.any(time.monotonic() >= last)

    def _step(self) -> dict[str, Tensor]:
        run, config = self.run, self.config
        phase = self._phase(run.step)
        if run.step == phase.first > 0:
            run.network.load_state_dict(run.ema.state_dict())
            run.optimizers = make_optimizers(run.network, phase.config)
        factor = learning_rate(run.step - phase.first, phase.config)
        for group in chain.from_iterable(optimizer.param_groups for optimizer in run.optimizers):
            group["lr"] = group["rate"] * factor
        batch = self._batch(run.step)
        run.network.train()
        with half_precision(self.device, enabled=config.half):
            losses = self.task.losses(self._parallel, batch)
        total = torch.stack(list(losses.values())).sum()
        run.network.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
        if not torch.isfinite(norm):
            raise RuntimeError(f"step {run.step}: the gradient is not finite; losses {losses}")
        for optimizer in run.optimizers:
            optimizer.step()
        run.step += 1
        run.samples += len(batch["images"]) * self.workers.count
        self._average(run.step - phase.first)
        return {name: value.detach() for name, value in losses.items()}

    @torch.no_grad()
    def _average(self, done: int) -> None:
        """Move the averaged weights; they follow faster in the first steps of a phase, of which some are done.

        Statistics of batch norms are averaged too.
        """
        keep = min(self.config.ema, (1 + done) / (10 + done))
        pairs = list(zip(self.run.ema.state_dict().values(), self.run.network.state_dict().values(), strict=True))
        floats = [(old, new) for old, new in pairs if old.is_floating_point()]
        torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], 1 - keep)

    def _evaluate(self, evaluate: Evaluate, report: Report) -> None:
        self.run.ema.eval()
        scores = evaluate(self.run.ema)
        if scores.get("score", 0.0) > self.run.best:
            self.run.best = scores["score"]
            self.export(self.folder / "best.safetensors", **{key: f"{value:.4f}" for key, value in scores.items()})
        self._log({"scores": scores}, report)
        self.files.write_curves()

    def _log(self, record: dict[str, Any], report: Report) -> None:
        run = self.run
        speed = run.samples / max(1e-9, run.seconds)
        left = (self.config.steps - run.step) * self.config.batch / max(1e-9, speed)
        phase = self._phase(run.step - 1)
        rate = phase.config.learning_rate * learning_rate(run.step - 1 - phase.first, phase.config)
        facts = {"step": run.step, "samples": run.samples, "seconds": round(run.seconds), "eta_s": round(left)}
        record = {**facts, "learning_rate": float(f"{rate:.4g}"), **record}
        if "scores" in record:
            run.history.append(record)
        self.files.add(record)
        report(record)


def export_checkpoint(folder: Path, path: Path) -> dict[str, str]:
    """Write the averaged weights of a run folder as safetensors; return the metadata that they got.

    Raises:
        InputError: there is no checkpoint, or a damaged one.
    """
    checkpoint = folder / _CHECKPOINT
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        config = train_config_from(state["config"], str(checkpoint))
        network = get_spec(config.network).build()
        network.load_state_dict(state["ema"])
    except FileNotFoundError:
        raise InputError(f"{checkpoint}: no such file; wanted the folder of a run") from None
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, EOFError, UnpicklingError) as error:
        raise InputError(f"{checkpoint}: damaged, or of another version of posecli ({error})") from error
    facts = _facts(config, int(state["step"]), int(state["samples"]))
    save_weights(network, path, facts)
    return facts


def _facts(config: TrainConfig, step: int, samples: int) -> dict[str, str]:
    """Say in the weights' metadata where they come from."""
    whole = json.dumps(asdict(config))
    return {"network": config.network, "step": str(step), "samples": str(samples), "config": whole}


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as JSON would read it back, so that saved and given ones compare."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain
