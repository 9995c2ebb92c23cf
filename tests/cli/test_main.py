"""The command line as a whole: help, mistakes, exit statuses, pipes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from resolver import __version__
from resolver.cli.main import COMMANDS, cli
from tests.cli.program import PYDNS, complaint, environment, pydns
from tests.scenarios.live import until


def test_without_a_command_the_help_is_shown() -> None:
    done = pydns()
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: pydns [OPTIONS] COMMAND [ARGS]...")
    assert "pydns explain db --from 172.18.0.3" in done.stderr


def test_help_lists_every_command_and_the_exit_statuses() -> None:
    done = pydns("--help")
    assert (0, "") == (done.returncode, done.stderr)
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name:<10}  {summary}\n" in done.stdout
    assert "Exit status: 0 fine, 1 a fault was found, 2 it could not start." in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_explains_every_option(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert "Examples:" in result.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            if parameter.envvar:
                assert str(parameter.envvar) in result.output


def test_the_version() -> None:
    assert pydns("--version").stdout == f"pydns, version {__version__}, fast lane compiled\n"


def test_the_module_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "resolver", "--help"], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == pydns("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serv"], "there is no command 'serv' (did you mean 'serve'?)"),
        (["exlpain"], "there is no command 'exlpain' (did you mean 'explain'?)"),
        (
            ["bogus"],
            "there is no command 'bogus' (there are: " + ", ".join(COMMANDS) + ")",
        ),
        (["explain"], "Missing argument 'NAME'."),
        (["sidecar", "--network", "mynet"], "Missing option '--netns' (env var: 'PYDNS_NETNS')."),
        (["serve", "extra"], "Got unexpected extra argument (extra)"),
        (
            ["serve", "--ttl", "soon"],
            "Invalid value for '--ttl' (env var: 'PYDNS_TTL'): 'soon' is not a valid integer.",
        ),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    ],
)
def test_a_mistyped_command_line(arguments: list[str], message: str) -> None:
    said = complaint(*arguments)
    assert said.startswith("Usage: pydns ")
    assert said.endswith(message + "\n")


def test_a_mistyped_option() -> None:
    assert "No such option" in complaint("serve", "--lsten", "127.0.0.1:0")


@pytest.mark.parametrize("arguments", [["networks"], ["explain", "db"], ["check"], ["completion", "bash"]])
def test_a_reader_that_goes_away_is_no_fault(arguments: list[str], folder: Path) -> None:
    """The pipe has no reader from the start, which is what the slowest `head` comes to."""
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
        gone.wait()
        done = subprocess.run(
            [PYDNS, *arguments],
            cwd=folder,
            env=environment(PYDNS_METRICS="off"),
            stdout=gone.stdin,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (141, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("arguments", [["networks"], ["--help"], ["check"]])
def test_a_full_disk_is_said_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PYDNS, *arguments],
            env=environment(PYDNS_METRICS="off"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("pydns: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_output_is_no_fault() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{PYDNS} networks --metrics off >&-"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_control_c_ends_a_server_with_0_and_without_a_word_too_many(folder: Path) -> None:
    log = folder / "log"
    command = [PYDNS, "serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--resolv-conf", "resolv.conf"]
    with log.open("wb") as stderr, subprocess.Popen(command, cwd=folder, env=environment(), stderr=stderr) as server:
        try:
            until(lambda: " ready: " in log.read_text())
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0
        finally:
            server.kill()
    assert log.read_text().splitlines()[1:] == ["pydns: stopping"]
