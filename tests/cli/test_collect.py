from dataclasses import dataclass

import click
from click.testing import CliRunner

from posecli.cli._collect import collect


@dataclass(frozen=True)
class Kitchen:
    pots: int = 1
    stove: str = "gas"


@click.command()
@click.option("--other", default="o", help="")
@collect("kitchen", Kitchen, click.option("--pots", type=int, default=Kitchen.pots), click.option("--stove"))
def cook(other, kitchen):
    click.echo(f"{other} {kitchen}")


def test_options_become_one_configuration_and_the_rest_passes():
    result = CliRunner().invoke(cook, ["--pots", "3", "--stove", "wood"])

    assert result.output == "o Kitchen(pots=3, stove='wood')\n"


def test_the_help_lists_the_options_in_their_order():
    lines = CliRunner().invoke(cook, ["--help"]).output.splitlines()

    named = [line.split()[0] for line in lines if line.strip().startswith("--")]
    assert named == ["--other", "--pots", "--stove", "--help"]
