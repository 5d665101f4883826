"""`python -m posecli.training PACK...`: train from packs where nothing but torch and numpy is installed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from posecli.config import load_train_config
from posecli.errors import PosecliError
from posecli.runtime import Workers, resolve_device
from posecli.training.loop import Trainer
from posecli.training.pack import read_pack
from posecli.training.tasks import make_task, run_spec


def main(arguments: list[str] | None = None) -> int:
    """Train; return the exit code. The run folder's weights come out with `posecli train export`, elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m posecli.training", description=__doc__)
    parser.add_argument("packs", nargs="+", type=Path, metavar="PACK", help="what posecli train pack wrote")
    parser.add_argument("-o", "--out", type=Path, required=True, help="run folder")
    parser.add_argument("--config", type=Path, help="TOML instead of the pack's own configuration")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    parser.add_argument("--minutes", type=float, help="stop after so many, to go on with --resume")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    given = parser.parse_args(arguments)
    try:
        trainer = _trainer(given)
    except PosecliError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    done = trainer.fit(evaluate=None, report=_report, minutes=given.minutes)
    print(f"{given.out}: step {trainer.run.step} of {trainer.config.steps}", file=sys.stderr)
    return 0 if done else 3


def _trainer(given: argparse.Namespace) -> Trainer:
    device = resolve_device(given.device)
    pack = read_pack(given.packs, device=device)
    config = load_train_config(given.config) if given.config else pack.config
    spec = run_spec(config)
    task = make_task(config, spec, pack.samples, device)
    trainer = Trainer(config, spec, task, start=pack.start, folder=given.out, workers=Workers(device))
    if given.resume:
        trainer.resume()
    return trainer


def _report(record: dict[str, Any]) -> None:
    print(json.dumps(record), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
