"""`pydns check`: every fault at once, with its place; what a server would refuse is refused here."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cli.program import SHIPPED, pydns
from tests.scenarios.live import ROOT

EVERYTHING_WRONG = """\
[server]
listen = ["127.0.0.1:bad"]
lsten = 1
[registry]
files = ["nowhere.toml", "registry.toml"]
zones = ["zones"]
[answers]
ttl = -1
"""
BAD_REGISTRY = '[networks.a]\nsubnets = ["10.1.0.1/16"]\nbogus = 1\n'


def test_what_ships_is_in_order() -> None:
    done = pydns("check", cwd=ROOT, env={"PYDNS_UPSTREAM": "127.0.0.77"})
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout == (
        "read: no configuration file, zones/networks.toml, zones\nall in order: 1 network, 2 endpoints, 1 zone\n"
    )


def test_every_fault_in_configuration_registry_and_zones_at_once(folder: Path) -> None:
    (folder / "c.toml").write_text(EVERYTHING_WRONG)
    (folder / "registry.toml").write_text(BAD_REGISTRY)
    (folder / "zones").mkdir()
    (folder / "zones" / "a.zone").write_text("foo bar\n")
    done = pydns("check", "-c", "c.toml", "--resolv-conf", "resolv.conf", cwd=folder)
    assert (1, "") == (done.returncode, done.stderr)
    assert done.stdout.splitlines() == [
        "c.toml:2: server.listen: 'bad' in '127.0.0.1:bad' is not a port from 0 to 65535"
        " (write it like 127.0.0.1:5353 or [::1]:5353)",
        "c.toml:3: server.lsten: unknown key 'lsten' (did you mean 'listen'?)",
        "c.toml:5: registry.files: 'nowhere.toml' does not exist (correct the path, or create it first)",
        "c.toml:8: answers.ttl: -1 cannot be used (write a whole number >= 0)",
        "registry.toml:3: networks.a.bogus: unknown key 'bogus'"
        " (known are: dns, endpoints, gateways, internal, priority, subnets, ttl)",
        "registry.toml:2: networks.a.subnets: '10.1.0.1/16' has bits set behind its prefix (write 10.1.0.0/16)",
        'zones/a.zone:1: cannot read "foo bar": there is no record type bar (a record is: name [ttl] [IN] type data)',
        "7 faults found",
    ]


def test_a_config_that_is_no_toml_still_has_what_the_flags_name_checked(folder: Path) -> None:
    (folder / "c.toml").write_text("listen = [\n")
    (folder / "registry.toml").write_text(BAD_REGISTRY)
    done = pydns("check", "-c", "c.toml", "--registry", "registry.toml", cwd=folder)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "c.toml",
        "registry.toml",
        "registry.toml",
        "3 faults found",
    ]


def test_a_network_that_serve_would_refuse(folder: Path) -> None:
    (folder / "c.toml").write_text('[server]\n\nnetworks = ["front", "nope"]\n')
    arguments = ("check", "--registry", "two.toml", "--resolv-conf", "resolv.conf")
    by_file = pydns(*arguments, "-c", "c.toml", cwd=folder)
    by_flag = pydns(*arguments, "--network", "nope", cwd=folder)
    message = "there is no network 'nope' (there are: back, front)\n1 fault found\n"
    assert (1, f"c.toml:3: server.networks: {message}") == (by_file.returncode, by_file.stdout)
    assert (1, f"--network: {message}") == (by_flag.returncode, by_flag.stdout)


def test_warnings_do_not_count(folder: Path) -> None:
    (folder / "empty").mkdir()
    done = pydns("check", "--registry", "empty", "--zones", "empty", "--resolv-conf", "nowhere", cwd=folder)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.splitlines() == [
        "empty: warning: holds no registry file (put *.toml, *.json, *.hosts or hosts there)",
        "empty: warning: holds no zone file (call them *.zone)",
        "nowhere: warning: cannot be read: No such file or directory; nothing is forwarded"
        " (add a nameserver line, or set forward.upstreams)",
        "read: no configuration file, empty, empty",
        "all in order: 0 networks, 0 endpoints, 0 zones, 3 warnings",
    ]


def test_a_warning_beside_a_fault(folder: Path) -> None:
    (folder / "registry.toml").write_text(BAD_REGISTRY.replace("bogus = 1\n", ""))
    (folder / "resolv.conf").write_text("# nobody\n")
    done = pydns("check", "--registry", "registry.toml", "--resolv-conf", "resolv.conf", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        "resolv.conf: warning: names no server; nothing is forwarded (add a nameserver line, or set forward.upstreams)",
        "1 fault found, 1 warning",
    ]


def test_a_daemon_is_not_asked_and_that_is_said(folder: Path) -> None:
    (folder / "c.toml").write_text('[docker]\nhost = "unix:///nowhere/docker.sock"\n')
    done = pydns("check", "-c", "c.toml", "--registry", "two.toml", "--resolv-conf", "resolv.conf", cwd=folder)
    assert (0, "") == (done.returncode, done.stderr)
    not_asked, read, *_ = done.stdout.splitlines()
    assert not_asked == (
        "docker: unix:///nowhere/docker.sock was not asked; its networks and names are not among these"
    )
    assert read.startswith("read: c.toml, two.toml")


def test_the_flags_of_serve_are_taken(folder: Path) -> None:
    done = pydns("check", "--listen", "x", "--ttl", "-1", "--metrics", "y", "--upstream", "z", "--zones", str(SHIPPED))
    assert done.returncode == 1
    places = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert set(places) == {"--listen", "--ttl", "--metrics", "--upstream", "4 faults found"}


def test_what_a_server_would_warn_of_in_resolv_conf(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver bogus\nnameserver 192.0.2.1\n")
    os.mkfifo(folder / "fifo")
    arguments = ("check", "--registry", "two.toml", "--resolv-conf")
    of_line = pydns(*arguments, "resolv.conf", cwd=folder)
    of_fifo = pydns(*arguments, "fifo", cwd=folder)
    unneeded = pydns(*arguments, "resolv.conf", cwd=folder, env={"PYDNS_UPSTREAM": "192.0.2.1"})
    assert (0, 0, 0) == (of_line.returncode, of_fifo.returncode, unneeded.returncode)
    assert (
        "resolv.conf: warning: nameserver 'bogus' is no address, and is passed over (write an address)"
        == of_line.stdout.splitlines()[0]
    )
    assert (
        "fifo: warning: cannot be read: it is a FIFO, which would block; nothing is forwarded"
        " (add a nameserver line, or set forward.upstreams)" == of_fifo.stdout.splitlines()[0]
    )
    assert "bogus" not in unneeded.stdout


def test_a_systemd_resolved_that_cannot_be_asked(folder: Path) -> None:
    (folder / "c.toml").write_text('[forward]\nresolved = "on"\n')
    (folder / "stub").write_text("nameserver 127.0.0.53\n")
    bus = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    stated = pydns(
        "check", "-c", "c.toml", "--registry", "two.toml", "--resolv-conf", "resolv.conf", cwd=folder, env=bus
    )
    by_stub = pydns("check", "--registry", "two.toml", "--resolv-conf", "stub", cwd=folder, env=bus)
    for done in (stated, by_stub):
        assert (0, "") == (done.returncode, done.stderr)
        assert done.stdout.startswith(
            "systemd-resolved: warning: cannot be read: the system bus cannot be reached: "
        ), done.stdout
        assert ", 1 warning" in done.stdout


def test_a_route_for_the_names_of_a_network(folder: Path) -> None:
    (folder / "c.toml").write_text('[[forward.routes]]\nsuffix = "x.back"\nupstreams = ["192.0.2.1"]\n')
    done = pydns("check", "-c", "c.toml", "--registry", "two.toml", "--resolv-conf", "resolv.conf", cwd=folder)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith(
        "c.toml: warning: forward.routes: the route for x.back never counts: a network has the name back"
    ), done.stdout


def test_an_empty_path_is_one_fault(folder: Path) -> None:
    (folder / "c.toml").write_text('[forward]\nresolv_conf = ""\n')
    done = pydns("check", "-c", "c.toml", "--registry", "two.toml", cwd=folder)
    assert [
        "c.toml:2: forward.resolv_conf: a path may not be empty (leave the key out for the default)",
        "1 fault found",
    ] == done.stdout.splitlines()
