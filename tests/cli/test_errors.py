"""Errors are for people: the place, the value, the fix, exit status 2, and no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.program import complaint, pydns
from tests.scenarios.live import ROOT

QUIET = ("--listen", "127.0.0.1:0", "--metrics", "off", "--resolv-conf", "resolv.conf")


@pytest.mark.parametrize("command", [["serve"], ["explain", "db"], ["networks"]])
@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"\xff\xfe", "c.toml:1: is not UTF-8 (octet 0xff) (save it as UTF-8)"),
        (b"[server]\nlisten = [5\nttl = 3\n", "c.toml:3: not TOML: "),
        (b"[server]\nlsten = 1\n", "c.toml:2: server.lsten: unknown key 'lsten' (did you mean 'listen'?)"),
        (b"[answers]\nttl = -1\n", "c.toml:2: answers.ttl: -1 cannot be used (write a whole number >= 0)"),
        (b"server = 5\n", "c.toml:1: server: 5 is not a table (write [server] with keys below it)"),
        (
            b'[answers]\nsingle_label = "x"\n',
            "c.toml:2: answers.single_label: 'x' cannot be used (write one of: 'nxdomain', 'forward')",
        ),
        (
            b'[registry]\n\nfiles = ["nowhere"]\n',
            "c.toml:3: registry.files: 'nowhere' does not exist (correct the path, or create it first)",
        ),
        (
            b'[forward]\nupstreams = ["dns.example"]\n',
            "c.toml:2: forward.upstreams: 'dns.example' is no address; a server without a scheme is an IPv4 or IPv6"
            " address, not a name (write it like 10.0.0.53, tls://10.0.0.53#NAME or system)",
        ),
        (
            b'[internal]\nnames = { host = "here" }\n',
            "c.toml:2: internal.names.host: 'here' is not an IPv4 or IPv6 address"
            ' (write it like 172.18.0.2 or fd00:18::2, or "auto")',
        ),
    ],
)
def test_a_config_file_that_is_wrong(folder: Path, command: list[str], octets: bytes, message: str) -> None:
    (folder / "c.toml").write_bytes(octets)
    said = complaint(*command, "-c", "c.toml", cwd=folder)
    assert said.startswith(f"pydns: {message}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", [["serve"], ["explain", "db"], ["networks"]])
def test_a_config_file_that_is_none(folder: Path, command: list[str]) -> None:
    (folder / "d").mkdir()
    fix = "(check the path and its permissions)\n"
    missing, is_folder = (complaint(*command, "-c", name, cwd=folder) for name in ("nowhere", "d"))
    assert missing == f"pydns: nowhere: cannot be read: No such file or directory {fix}"
    assert is_folder == f"pydns: d: cannot be read: Is a directory {fix}"


def test_every_fault_of_a_config_file_is_shown_by_line(folder: Path) -> None:
    (folder / "c.toml").write_text('[metrics]\nlisten = "x"\n[registry]\nfiles = ["n"]\n[server]\na = 1\nb = 2\n')
    said = complaint("serve", "-c", "c.toml", cwd=folder)
    assert [line.split(":")[2] for line in said.splitlines()] == ["2", "4", "6", "7"]


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--ttl", "-5"], {}, "--ttl: -5 cannot be used (write a whole number >= 0)"),
        ([], {"PYDNS_TTL": "-5"}, "PYDNS_TTL: -5 cannot be used (write a whole number >= 0)"),
        (["--registry", "no"], {}, "--registry: 'no' does not exist (correct the path, or create it first)"),
        ([], {"PYDNS_ZONES": "no"}, "PYDNS_ZONES: 'no' does not exist (correct the path, or create it first)"),
        (
            [],
            {"PYDNS_CONFIG": "no"},
            "no: cannot be read: No such file or directory (check the path and its permissions)",
        ),
        (["--network", "nope"], {}, "--network: there is no network 'nope' (there are: mynet)"),
        (
            ["--upstream", "1.2.3.4:x"],
            {},
            "--upstream: '1.2.3.4:x' has port 'x'; a port is a number from 1 to 65535"
            " (write it like 10.0.0.53, tls://10.0.0.53#NAME or system)",
        ),
    ],
)
def test_a_flag_or_a_variable_that_is_wrong(
    folder: Path, arguments: list[str], env: dict[str, str], message: str
) -> None:
    assert complaint("serve", *QUIET, *arguments, cwd=folder, env=env) == f"pydns: {message}\n"


def test_every_value_of_a_variable_counts(folder: Path) -> None:
    """Both addresses of PYDNS_LISTEN are read: the second one is what is wrong."""
    env = {"PYDNS_LISTEN": "127.0.0.1:0 [::1]:bad", "PYDNS_METRICS": "off", "PYDNS_RESOLV_CONF": "resolv.conf"}
    assert complaint("serve", cwd=folder, env=env) == (
        "pydns: PYDNS_LISTEN: 'bad' in '[::1]:bad' is not a port from 0 to 65535"
        " (write it like 127.0.0.1:5353 or [::1]:5353)\n"
    )


def test_a_taken_port(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        said = complaint("serve", *QUIET[2:], "--listen", at, cwd=folder)
    assert said == (
        f"pydns: UDP {at} is taken by another program; choose another port with --listen, or stop that program\n"
    )


def test_an_address_of_somebody_else(folder: Path) -> None:
    said = complaint("serve", *QUIET[2:], "--listen", "192.0.2.99:5353", cwd=folder)
    assert said.endswith("192.0.2.99:5353 is not an address of this machine; choose one that `ip address` shows\n")


def test_a_path_that_cannot_be_reached_is_no_missing_one() -> None:
    long = "x" * 300
    assert complaint("networks", "--registry", long) == (
        f"pydns: --registry: '{long}' cannot be reached: File name too long (check who may go there)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--netns", "x"],
            "--network: nobody says which networks the namespace is on"
            " (give --network NET, or --endpoint NAME for the networks of a container)",
        ),
        (
            ["--netns", "x", "--network", "mynet", "--resolv-conf", "r", "--no-resolv-conf"],
            "--no-resolv-conf: contradicts --resolv-conf (give one of them)",
        ),
    ],
)
def test_a_sidecar_that_is_told_too_little_or_too_much(arguments: list[str], message: str) -> None:
    assert complaint("sidecar", *arguments) == f"pydns: {message}\n"


def test_a_namespace_that_does_not_exist() -> None:
    assert complaint("sidecar", "--netns", "pydns-nowhere", "--network", "mynet").startswith(
        "pydns: there is no network namespace 'pydns-nowhere'"
    )


def test_a_registry_with_a_fault_is_told_beside_the_rest(folder: Path) -> None:
    """explain and networks say what a server would serve, and what it could not read."""
    (folder / "bad.toml").write_text("[networks.a]\nbogus = 1\n")
    for command in (["networks"], ["explain", "web"]):
        done = pydns(*command, "--registry", "bad.toml", "--registry", "two.toml", cwd=folder)
        assert done.returncode == 0
        assert done.stderr.startswith("pydns: error: bad.toml:2: networks.a.bogus: unknown key 'bogus' (known are: ")
        assert "10.1.0.2" in done.stdout


def test_the_example_configuration_is_shipped() -> None:
    assert (ROOT / "deploy" / "pydns.toml").is_file()
