"""The options of `infer` that say how media are read."""

from __future__ import annotations

import click

from posecli.cli._collect import collect
from posecli.config import ReadConfig

reading_options = collect(
    "reading",
    ReadConfig,
    click.option("--recursive", is_flag=True, help="Look for images in subfolders too."),
)
