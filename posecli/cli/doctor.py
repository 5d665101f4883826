"""`posecli doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from posecli.engines.diagnosis import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@click.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("poses"),
    show_default=True,
    help="Folder that output would go to.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a finding on stdout.")
@click.pass_context
def doctor(ctx: click.Context, device: str, out: Path, as_json: bool) -> None:
    """Check this machine: versions, device, codecs, weights, and a trial run of the default networks."""
    from rich.console import Console

    from posecli.engines.diagnosis import diagnose, exit_code

    findings = []
    for finding in diagnose(folder=out, device=device):
        findings.append(finding)
        if as_json:
            click.echo(json.dumps(finding.as_dict(), ensure_ascii=False))
    if not as_json:
        Console().print(_table(findings))
    ctx.exit(exit_code(findings))


def _table(findings: list[Finding]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        told = escape(finding.found)
        if finding.advice:
            told += f"\n[bold]{escape(finding.advice)}[/bold]"
        colour = _COLOURS[finding.status]
        table.add_row(f"[{colour}]{finding.status}[/{colour}]", finding.subject, told)
    return table
