"""The configuration (docs/configuration.md): every fault at once, with file, line, key and fix."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from resolver.config.load import Override, load, shipped_zones
from resolver.config.schema import Settings
from resolver.errors import ConfigError
from resolver.forward.routes import Target
from resolver.forward.upstreams import Upstream
from resolver.server.listeners import Address
from resolver.sources.docker.settings import DaemonSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "networks.toml").touch()
    (tmp_path / "zones").mkdir()
    return tmp_path


def settings_of(folder: Path, text: str, *overrides: Override) -> Settings:
    (folder / "pydns.toml").write_text(text)
    return load(folder / "pydns.toml", overrides)


def faults_of(folder: Path, text: str, *overrides: Override) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, text, *overrides)
    assert all(not fault.is_warning for fault in caught.value.faults)
    return [str(fault).replace(f"{folder}/", "") for fault in caught.value.faults]


def test_everything_has_a_default() -> None:
    """The table in docs/configuration.md."""
    settings = load(None)

    assert (Address("127.0.0.1", 5353), Address("::1", 5353)) == settings.listen
    assert ((), 8, 1024) == (settings.networks, settings.tcp_idle_s, settings.tcp_connections)
    assert ((shipped_zones() / "networks.toml",), (shipped_zones(),)) == (settings.registry_files, settings.zone_paths)
    assert (600, 10, False) == (settings.ttl, settings.negative_ttl, settings.forward_single_labels)
    assert (("docker.internal",), {"host": None, "gateway": None}) == (settings.internal_zones, settings.internal_names)
    assert (0, True) == (settings.max_per_client, settings.detects_loops)
    assert (Path("/etc/resolv.conf"), (), 1024) == (settings.resolv_conf, settings.upstreams, settings.max_in_flight)
    assert (Address("127.0.0.1", 9153), frozenset()) == (settings.metrics, settings.is_stated)


def test_an_empty_file_is_the_defaults(folder: Path) -> None:
    empty, default = settings_of(folder, ""), load(None)

    assert (default.listen, default.registry_files, default.zone_paths) == (
        empty.listen,
        empty.registry_files,
        empty.zone_paths,
    )
    assert folder / "pydns.toml" == empty.config_file


def test_every_key_is_taken(folder: Path) -> None:
    settings = settings_of(
        folder,
        """\
[server]
listen = ["0.0.0.0", "[::]:5300"]
networks = ["mynet"]
tcp_idle_s = 2.5
tcp_connections = 7
[registry]
files = ["networks.toml"]
zones = ["zones"]
[answers]
ttl = 0
negative_ttl = 3
single_label = "forward"
[internal]
zones = ["docker.internal.", "lab.internal"]
names = { host = "192.0.2.1", gateway = "auto", both = ["192.0.2.2", "2001:db8::2"] }
[forward]
resolv_conf = "resolv.conf"
upstreams = ["10.0.0.53", "[fd00::53]:5353"]
max_in_flight = 9
max_in_flight_per_client = 4
loop_detection = false
[metrics]
listen = "off"
""",
    )

    assert (Address("0.0.0.0", 53), Address("::", 5300)) == settings.listen
    assert (("mynet",), 2.5, 7) == (settings.networks, settings.tcp_idle_s, settings.tcp_connections)
    assert (0, 3, True) == (settings.ttl, settings.negative_ttl, settings.forward_single_labels)
    assert ("docker.internal", "lab.internal") == settings.internal_zones
    assert {
        "host": (ipaddress.ip_address("192.0.2.1"),),
        "gateway": None,
        "both": (ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("2001:db8::2")),
    } == settings.internal_names
    assert (Upstream("10.0.0.53"), Upstream("fd00::53", 5353)) == settings.upstreams
    assert (9, 4, False) == (settings.max_in_flight, settings.max_per_client, settings.detects_loops)
    assert settings.metrics is None


def test_paths_in_the_file_are_relative_to_the_file(folder: Path) -> None:
    settings = settings_of(
        folder, '[registry]\nfiles = ["networks.toml", "/etc/hosts"]\nzones = []\n[forward]\nresolv_conf = "r"\n'
    )

    assert (folder / "networks.toml", Path("/etc/hosts")) == settings.registry_files
    assert ((), folder / "r") == (settings.zone_paths, settings.resolv_conf)


def test_paths_in_flags_are_relative_to_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "work").mkdir()
    (folder / "work" / "my.toml").touch()
    monkeypatch.chdir(folder / "work")
    settings = settings_of(
        folder,
        '[registry]\nfiles = ["networks.toml"]\n',
        Override(("registry", "files"), ["my.toml"], "--registry"),
        Override(("forward", "resolv_conf"), "r", "--resolv-conf"),
    )

    assert ((Path("my.toml"),), Path("r")) == (settings.registry_files, settings.resolv_conf)


def test_a_flag_wins_over_the_file_and_leaves_the_keys_beside_it(folder: Path) -> None:
    settings = settings_of(folder, "[answers]\nttl = 5\nnegative_ttl = 6\n", Override(("answers", "ttl"), 7, "--ttl"))

    assert (7, 6) == (settings.ttl, settings.negative_ttl)
    assert {"answers.ttl", "answers.negative_ttl"} == settings.is_stated


def test_a_flag_needs_no_file() -> None:
    assert (Address("127.0.0.1", 0),) == load(
        None, [Override(("server", "listen"), ["127.0.0.1:0"], "--listen")]
    ).listen


def test_a_wrong_value_in_the_file_that_a_flag_overrides_does_not_count(folder: Path) -> None:
    assert 7 == settings_of(folder, '[answers]\nttl = "x"\n', Override(("answers", "ttl"), 7, "--ttl")).ttl


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[server\n", "pydns.toml:1: not TOML: Expected ']' at the end of a table declaration"),
        ("[sever]\n", "pydns.toml:1: sever: unknown key 'sever' (did you mean 'server'?)"),
        (
            '[server]\nlistn = ["::1"]\n',
            "pydns.toml:2: server.listn: unknown key 'listn' (did you mean 'listen'?)",
        ),
        (
            "[answers]\nzzz = 1\n",
            "pydns.toml:2: answers.zzz: unknown key 'zzz' (known are: negative_ttl, single_label, ttl)",
        ),
        ("server = 5\n", "pydns.toml:1: server: 5 is not a table (write [server] with keys below it)"),
        (
            "[server]\nlisten = []\n",
            'pydns.toml:2: server.listen: a server has to listen somewhere (write listen = ["127.0.0.1:5353"])',
        ),
        (
            '[server]\nlisten = ["localhost:53"]\n',
            "pydns.toml:2: server.listen: 'localhost' in 'localhost:53' is not an IP address"
            " (write it like 127.0.0.1:5353 or [::1]:5353)",
        ),
        (
            '[server]\nlisten = ["127.0.0.1:66000"]\n',
            "pydns.toml:2: server.listen: '66000' in '127.0.0.1:66000' is not a port from 0 to 65535"
            " (write it like 127.0.0.1:5353 or [::1]:5353)",
        ),
        ("[server]\ntcp_idle_s = 0\n", "pydns.toml:2: server.tcp_idle_s: 0 cannot be used (write a number > 0.0)"),
        (
            "[server]\ntcp_connections = 0\n",
            "pydns.toml:2: server.tcp_connections: 0 cannot be used (write a whole number >= 1)",
        ),
        (
            '[registry]\nfiles = ["nowhere.toml"]\n',
            "pydns.toml:2: registry.files: 'nowhere.toml' does not exist (correct the path, or create it first)",
        ),
        (
            '[registry]\nzones = "zones"\n',
            "pydns.toml:2: registry.zones: 'zones' cannot be used: it is text (write a list)",
        ),
        ("[answers]\nttl = -1\n", "pydns.toml:2: answers.ttl: -1 cannot be used (write a whole number >= 0)"),
        (
            '[answers]\nsingle_label = "no"\n',
            "pydns.toml:2: answers.single_label: 'no' cannot be used (write one of: 'nxdomain', 'forward')",
        ),
        (
            '[internal]\nzones = ["a..b"]\n',
            "pydns.toml:2: internal.zones: 'a..b' has an empty label (two dots in a row, or one in front)"
            " (use letters, digits, hyphens and dots)",
        ),
        (
            '[internal]\nzones = ["."]\n',
            "pydns.toml:2: internal.zones: the root cannot be a name here (use letters, digits, hyphens and dots)",
        ),
        (
            '[internal]\nnames = { host = "x" }\n',
            "pydns.toml:2: internal.names.host: 'x' is not an IPv4 or IPv6 address"
            ' (write it like 172.18.0.2 or fd00:18::2, or "auto")',
        ),
        (
            '[internal.names]\nhost = "auto"\n"a b" = "auto"\n',
            "pydns.toml:3: internal.names.a b: 'a b' has a space, a backslash or a control character"
            ' (use letters, digits, hyphens and dots, or "auto")',
        ),
        (
            '[forward]\nupstreams = ["quic://192.0.2.53"]\n',
            "pydns.toml:2: forward.upstreams: quic:// is no kind of upstream; there are udp://, tcp://, tls:// and"
            " https:// (write it like 10.0.0.53, tls://10.0.0.53#NAME or system)",
        ),
        (
            '[forward]\nresolv_conf = ""\n',
            "pydns.toml:2: forward.resolv_conf: a path may not be empty (leave the key out for the default)",
        ),
        (
            '[metrics]\nlisten = "nowhere"\n',
            "pydns.toml:2: metrics.listen: 'nowhere' is not an IP address (write it like 127.0.0.1:5353 or [::1]:5353)",
        ),
    ],
)
def test_what_is_wrong_has_its_line_its_key_and_its_fix(folder: Path, text: str, fault: str) -> None:
    (found,) = faults_of(folder, text)

    assert found.startswith(fault)


def test_every_fault_is_told_at_once(folder: Path) -> None:
    faults = faults_of(
        folder,
        """\
[server]
listen = ["x", "y"]
tcp_idle_s = "long"
[answers]
ttl = -1
single_lable = "forward"
[forward]
upstreams = ["ns.example.org"]
[metrics]
listen = 9153
""",
        Override(("registry", "files"), ["nowhere.toml"], "--registry"),
    )

    assert {
        "pydns.toml:2: server.listen",
        "pydns.toml:3: server.tcp_idle_s",
        "pydns.toml:5: answers.ttl",
        "pydns.toml:6: answers.single_lable",
        "pydns.toml:8: forward.upstreams",
        "pydns.toml:10: metrics.listen",
        "--registry: 'nowhere.toml' does not exist (correct the path, or create it first)",
    } == {re.sub(r"(: [a-z_.]+): .*", r"\1", fault) if "pydns" in fault else fault for fault in faults}
    assert 8 == len(faults)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        (
            Override(("server", "listen"), ["x"], "--listen"),
            "--listen: 'x' is not an IP address (write it like 127.0.0.1:5353 or [::1]:5353)",
        ),
        (Override(("answers", "ttl"), -1, "--ttl"), "--ttl: -1 cannot be used (write a whole number >= 0)"),
        (
            Override(("registry", "zones"), ["nowhere"], "--zones"),
            "--zones: 'nowhere' does not exist (correct the path, or create it first)",
        ),
    ],
)
def test_a_fault_in_a_flag_names_the_flag(folder: Path, override: Override, fault: str) -> None:
    assert [fault] == faults_of(folder, "[server]\n[answers]\n[registry]\n", override)


def test_a_flag_does_not_hide_that_its_table_is_none(folder: Path) -> None:
    assert ["pydns.toml:1: server: 5 is not a table (write [server] with keys below it)"] == faults_of(
        folder, "server = 5\n", Override(("server", "listen"), ["127.0.0.1:0"], "--listen")
    )


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "nowhere.toml")


def test_the_configuration_in_the_documents_is_in_order(folder: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text().partition("```toml\n")[2].partition("```")[0]

    assert settings_of(folder, text).listen


# [docker] and [podman]


def test_a_daemons_section_alone_turns_it_on(folder: Path) -> None:
    settings = settings_of(folder, "[docker]\n[podman]\n")

    assert (
        DaemonSettings("docker", "unix:///var/run/docker.sock"),
        DaemonSettings("podman", "unix:///run/podman/podman.sock"),
    ) == settings.daemons


def test_without_a_section_no_daemon_is_asked(folder: Path) -> None:
    assert () == settings_of(folder, "").daemons


def test_the_sample_registry_is_not_served_beside_a_daemon(folder: Path) -> None:
    stated = settings_of(folder, '[docker]\n[registry]\nfiles = ["networks.toml"]\n')

    assert ((), (folder / "networks.toml",)) == (
        settings_of(folder, "[docker]\n").registry_files,
        stated.registry_files,
    )


def test_a_daemon_is_reached_as_its_section_says(folder: Path) -> None:
    certificates = folder / "certs"
    certificates.mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (certificates / name).touch()
    text = """[docker]
host = "tcp://docker.example:2376"
tls = "certs"
healthy_only = true
serve_default_bridge = true
host_gateway = ["10.0.0.1", "fd00::1"]
resync_s = 60
"""

    assert (
        DaemonSettings(
            "docker",
            "tcp://docker.example:2376",
            certificates,
            healthy_only=True,
            serve_default_bridge=True,
            host_gateway=(ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fd00::1")),
            resync_s=60.0,
        ),
    ) == settings_of(folder, text).daemons


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('host = "/var/run/docker.sock"', "neither unix:// nor tcp://"),
        ('host = "unix://docker.sock"', "has no absolute path"),
        ('host = "unix:docker.sock"', "has no absolute path"),
        ('host = "tcp://10.0.0.1"', "has no address and port"),
        ('host = "tcp://10.0.0.1:docker"', "has no address and port"),
        ('host = "tcp://:2375"', "has no address and port"),
        ('host = "tcp://[::1:2375"', "has no address and port"),
        ('host = "tcp://::1]:2375"', "has no address and port"),
        ('host = "npipe:////./pipe/docker_engine"', "neither unix:// nor tcp://"),
        ('tls = "nowhere"', "has no ca.pem, cert.pem, key.pem"),
        ('host_gateway = ["docker0"]', "'docker0' is not an IPv4 or IPv6 address"),
        (
            'host_gateway = ["10.0.0.1", "10.0.0.2"]',
            "10.0.0.1, 10.0.0.2: more than one address of a family",
        ),
        ("resync_s = 0.5", "0.5 cannot be used"),
        ("interval = 5", "unknown key 'interval'"),
    ],
)
def test_what_makes_no_sense_of_a_daemon_is_refused_with_its_line(folder: Path, line: str, said: str) -> None:
    (fault,) = faults_of(folder, f"[docker]\n{line}\n")

    assert said in fault
    assert "pydns.toml:2" in fault


# [[forward.routes]]


def test_routes_by_suffix_and_prefix(folder: Path) -> None:
    text = """[[forward.routes]]
suffix = "Corp.Example."
upstreams = ["10.1.1.53", "[fd00::53]:5353"]
[[forward.routes]]
suffix = "."
upstreams = ["default"]
[[forward.routes]]
suffix = "~onion"
upstreams = ["never"]
[[forward.routes]]
cidr = "10.0.0.0/8"
upstreams = ["refuse"]
"""
    corp, everything, onion, ten = settings_of(folder, text).routes

    assert (Target.UPSTREAMS, (Upstream("10.1.1.53"), Upstream("fd00::53", 5353))) == (corp.target, corp.upstreams)
    assert [(b"\4corp\7example\0",), (b"\0",), (b"\5onion\0",), (b"\00210\7in-addr\4arpa\0",)] == [
        route.suffixes for route in (corp, everything, onion, ten)
    ]
    assert [Target.DEFAULT, Target.NEVER, Target.REFUSE] == [route.target for route in (everything, onion, ten)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('upstreams = ["10.1.1.53"]', "pydns.toml:1: forward.routes.0.suffix: a route needs a suffix or a cidr"),
        ('suffix = "a"\ncidr = "10.0.0.0/8"\nupstreams = ["never"]', "a route needs a suffix or a cidr"),
        ('suffix = "a..b"\nupstreams = ["never"]', "pydns.toml:2: forward.routes.0.suffix: "),
        ('cidr = "10.0.0.1/8"\nupstreams = ["never"]', "'10.0.0.1/8' has bits set behind its prefix"),
        ('suffix = "a"\nupstreams = []', "pydns.toml:3: forward.routes.0.upstreams: a route needs an upstream"),
        ('suffix = "a"', "a route needs an upstream"),
        ('suffix = "a"\nupstreams = ["never", "10.0.0.1"]', "'never' stands beside others"),
        ('suffix = "a"\nupstreams = ["nevr"]', "'nevr' is no address"),
        ('sufix = "a"\nupstreams = ["never"]', "pydns.toml:2: forward.routes.0.sufix: unknown key 'sufix'"),
        (
            'suffix = "a"\nupstreams = ["never"]\n[[forward.routes]]\nsuffix = "A."\nupstreams = ["refuse"]',
            "pydns.toml:4: forward.routes.1: A. has a route already, that for a",
        ),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(folder: Path, lines: str, said: str) -> None:
    assert any(said in fault for fault in faults_of(folder, f"[[forward.routes]]\n{lines}\n"))
