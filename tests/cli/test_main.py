"""The group: help without heavy imports, errors as one line and an exit code, completion."""

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from posecli import __version__
from posecli.cli import COMMANDS, Lazy, LazyGroup, main
from posecli.errors import DeviceError, InputError, PartialError

HEAVY = ("torch", "cv2", "numpy", "av", "pycocotools", "rich")


def group_that_raises(error):
    @click.command()
    def fail():
        raise error

    group = LazyGroup(lazy={"fail": Lazy("", "Fail.")})
    group.get_command = lambda ctx, name: fail  # type: ignore[method-assign]
    return group


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "fish"], []])
def test_the_group_loads_nothing_heavy(arguments):
    program = f"""
import sys
from posecli.cli import main
try:
    main({arguments!r})
except SystemExit:
    print(*sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
"""
    assert python("-c", program).stderr.splitlines()[-1] == ""


def test_importing_the_group_leaves_torch_unloaded():
    assert python("-c", "import sys, posecli.cli; print('torch' in sys.modules)").stdout == "False\n"


def test_help_lists_every_command_in_its_order():
    output = CliRunner().invoke(main, ["--help"]).output

    listed = [line.split()[0] for line in output.partition("Commands:")[2].strip().splitlines()]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_help(name):
    command = main.get_command(click.Context(main), name)
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]

    result = CliRunner().invoke(main, [name, "--help"])

    assert result.exit_code == 0
    assert command.help
    assert not [option.name for option in options if not option.help]


def test_version_is_printed():
    result = CliRunner().invoke(main, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"posecli {__version__}\n")


def test_a_bare_group_is_a_usage_error_that_shows_the_help():
    result = CliRunner().invoke(main, [])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    ("typed", "way_out"),
    [("infre", "Did you mean infer?"), ("evaluate", "Did you mean eval?"), ("zzz", "Choose from infer, eval")],
)
def test_an_unknown_command_gets_a_way_out(typed, way_out):
    result = CliRunner().invoke(main, [typed])

    assert result.exit_code == 2
    assert f"No such command '{typed}'. {way_out}" in result.stderr


def test_an_unknown_option_is_a_usage_error():
    assert CliRunner().invoke(main, ["--nonsense"]).exit_code == 2


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(PartialError("2 of 5 videos failed"), 3), (InputError("a.mp4: no video stream"), 4), (DeviceError("full"), 6)],
)
def test_what_a_user_can_mend_is_one_line_and_an_exit_code(error, exit_code):
    result = CliRunner().invoke(group_that_raises(error), ["fail"])

    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", f"{error}\n")


def test_an_interrupt_exits_as_shells_expect():
    result = CliRunner().invoke(group_that_raises(KeyboardInterrupt()), ["fail"])

    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("bug", "shown"), [(ZeroDivisionError("bug"), ZeroDivisionError), (EOFError("end"), RuntimeError)]
)
def test_a_bug_keeps_its_traceback(bug, shown):
    result = CliRunner().invoke(group_that_raises(bug), ["fail"])

    assert isinstance(result.exception, shown)
    assert result.exit_code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pipe")
def test_a_closed_pipe_is_quiet():
    program = """
import click
from posecli.cli import Lazy, LazyGroup

@click.command()
def chatter():
    for _ in range(100_000):
        click.echo("word " * 20)

group = LazyGroup(lazy={"chatter": Lazy("", "")})
group.get_command = lambda ctx, name: chatter
group(["chatter"])
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        message = process.stderr.read()
        process.stderr.close()
        exit_code = process.wait(timeout=60)

    assert (exit_code, message) == (141, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell):
    result = CliRunner().invoke(main, ["completion", shell])

    assert result.exit_code == 0
    assert f"_POSECLI_COMPLETE={shell}_complete" in result.stdout


def test_completion_takes_the_shell_in_use():
    runner = CliRunner()

    assert "compdef" in runner.invoke(main, ["completion"], env={"SHELL": "/usr/bin/zsh"}).stdout
    other = runner.invoke(main, ["completion"], env={"SHELL": "/bin/tcsh"})
    assert other.exit_code == 2
    assert "$SHELL is tcsh; choose from bash, zsh, fish" in other.stderr


def test_completing_a_command_name_imports_no_command():
    done = python(
        "-c",
        "from posecli.cli import main; main(prog_name='posecli')",
        _POSECLI_COMPLETE="zsh_complete",
        COMP_WORDS="posecli in",
        COMP_CWORD="1",
    )

    assert done.stdout.splitlines() == ["plain", "infer", COMMANDS["infer"].help]
