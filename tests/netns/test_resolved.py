"""Split DNS as a host has it whose resolver is systemd-resolved: the real one, on a bus of the test's own."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.resolved import RESOLVECTL, ResolvedHost, asking, relinked, replaced
from tests.netns.world import parse_dig, wait_until
from tests.unit.forward.authority import Authority

pytestmark = pytest.mark.root

SOON_S = 8.0
"""Generous: what resolved does not tell is read every second."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResolvedHost]:
    with ResolvedHost(tmp_path_factory.mktemp("host")) as made:
        yield made


@pytest.fixture
def host(shared: ResolvedHost) -> ResolvedHost:
    shared.reset()
    shared.resolvectl_all(
        ("dns", "lan", "10.1.1.53"),
        ("dns", "vpn", "10.1.2.53"),
        ("domain", "vpn", "corp.example", "~9.9.10.in-addr.arpa"),
    )
    return shared


def test_the_split_is_that_of_the_host(host: ResolvedHost) -> None:
    pydns = host.serve()

    assert [1] == host.who("www.example.com"), pydns.stderr_text()
    assert [2] == host.who("git.corp.example")
    assert [2] == host.who("corp.example")
    assert [1] == host.who("notcorp.example")
    assert ["host.link2.example."] == host.ask("7.9.9.10.in-addr.arpa", "PTR").rdata
    assert ["172.18.0.2"] == host.ask("db.").rdata


def test_the_longest_domain_wins_and_links_that_share_it_are_asked_alike(host: ResolvedHost) -> None:
    host.resolvectl("dns", "lab", "10.1.3.53")
    host.resolvectl("domain", "lab", "~dev.corp.example", "~shared.example")
    host.resolvectl("domain", "lan", "~shared.example", "~.")
    host.serve()

    assert [3] == host.who("git.dev.corp.example")
    assert [2] == host.who("git.corp.example")
    assert ["10.1.1.53:53", "10.1.3.53:53"] == host.upstreams_of("a.shared.example")


def test_every_change_is_served_soon(host: ResolvedHost) -> None:
    """Of domains, default routes and links resolved tells nobody."""
    host.serve()
    changes: list[tuple[list[list[str]], str, int]] = [
        ([["resolvectl", "dns", "lan", "10.1.3.53"], ["resolvectl", "dns", "lab", "10.1.3.53"]], "www.example.com", 3),
        ([["resolvectl", "dns", "lan", "10.1.1.53"], ["resolvectl", "domain", "lab", "~x.example"]], "x.example", 3),
        ([["resolvectl", "default-route", "vpn", "yes"], ["resolvectl", "default-route", "lan", "no"]], "1.example", 2),
        ([["resolvectl", "domain", "lab", "~."]], "2.example", 3),
        ([["ip", "link", "set", "lab", "down"]], "3.example", 2),
        ([["ip", "link", "set", "lab", "up"]], "4.example", 3),
        ([["ip", "link", "delete", "lab"]], "5.example", 2),
        ([["resolvectl", "revert", "vpn"], ["resolvectl", "default-route", "lan", "yes"]], "git.corp.example", 1),
    ]
    for commands, name, link in changes:
        for command in commands:
            host.run(*([str(RESOLVECTL), *command[1:]] if command[0] == "resolvectl" else command))
        host.await_who(name, link, SOON_S)
        assert "NOERROR" == host.ask("any.example").status


def test_a_change_of_servers_loses_no_query(host: ResolvedHost) -> None:
    host.serve()
    with asking(host) as replies:
        for link in (3, 1, 3, 1):
            host.resolvectl("dns", "lan", f"10.1.{link}.53")
            host.await_who(f"served-{len(replies)}.example", link, SOON_S)
    assert {"NOERROR"} == {reply.status for reply in replies}


def test_a_link_that_vanishes_loses_no_query(host: ResolvedHost) -> None:
    """A VPN goes down: for a moment nobody is left to be asked."""
    host.resolvectl("default-route", "vpn", "yes")
    host.resolvectl("default-route", "lan", "no")
    host.serve()
    assert [2] == host.who("before.example")
    with asking(host) as replies:
        host.run("ip", "link", "delete", "vpn")
        host.resolvectl("default-route", "lan", "yes")
        host.await_who("after.example", 1, SOON_S)
    assert {"NOERROR"} == {reply.status for reply in replies}


def test_a_routed_domain_whose_link_vanishes_loses_no_query(host: ResolvedHost) -> None:
    host.resolvectl("dns", "lab", "fe80::53")
    host.resolvectl("domain", "lab", "~local.example")
    host.serve()
    host.await_who("before.local.example", 3)
    with asking(host, "local.example") as replies:
        host.run("ip", "link", "delete", "lab")
        host.await_who("after.local.example", 1, SOON_S)
    assert {"NOERROR"} == {reply.status for reply in replies}


def test_a_hangup_takes_over_what_the_configuration_says(host: ResolvedHost) -> None:
    pydns = host.serve('resolved = "auto"')
    config = host.folder / "pydns.toml"
    for word, upstream in (("off", "127.0.0.53:53"), ("on", "10.1.2.53:53")):
        config.write_text(re.sub('resolved = ".*"', f'resolved = "{word}"', config.read_text()))
        pydns.signal(signal.SIGHUP)
        wait_until(
            lambda upstream=upstream: [upstream] == host.upstreams_of("corp.example"),  # type: ignore[misc]
            SOON_S,
            f"{word} is gone by",
        )
    assert "Traceback" not in pydns.stderr_text()


def test_a_server_on_the_link_itself_is_asked_through_it(host: ResolvedHost) -> None:
    host.resolvectl("dns", "lab", "fe80::53")
    host.resolvectl("domain", "lab", "~local.example")
    host.serve()

    assert [3] == host.who("printer.local.example")
    assert ["[fe80::53%lab]:53"] == host.upstreams_of("printer.local.example")


def test_ports_and_certificates_come_along(host: ResolvedHost) -> None:
    host.resolvectl("dns", "vpn", "10.1.2.53:5300", "10.1.2.54#dns.corp.example")
    host.serve()
    assert ["10.1.2.53:5300", "10.1.2.54:53"] == host.upstreams_of("corp.example")

    host.resolvectl("dnsovertls", "vpn", "yes")
    wanted = ["tls://10.1.2.53:5300", "tls://10.1.2.54#dns.corp.example"]
    wait_until(lambda: wanted == host.upstreams_of("corp.example"), SOON_S, "TLS is used")


def test_dns_over_tls_is_asked_as_resolved_would(host: ResolvedHost, tmp_path: Path) -> None:
    """By the name that the link's server must prove; who proves another one is not asked, in plain text neither."""
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("dns.corp.example", "10.1.2.53")
    config = tmp_path / "unbound.conf"
    config.write_text(
        "server:\n  interface: 10.1.2.53@853\n  tls-port: 853\n  access-control: 10.1.2.0/24 allow\n"
        f'  tls-service-pem: "{certificate}"\n  tls-service-key: "{key}"\n  do-daemonize: no\n  chroot: ""\n'
        '  username: ""\n  pidfile: ""\n  use-syslog: no\n  num-threads: 1\n  module-config: "iterator"\n'
        '  local-zone: corp.example redirect\n  local-data: "corp.example A 192.0.2.85"\n'
        "remote-control:\n  control-enable: no\n"
    )
    host.start_in_world("unbound", "unbound", "-d", "-c", str(config))
    pydns = host.serve(f'tls_ca = "{authority.file}"')
    assert [2] == host.who("plain.corp.example")

    host.resolvectl_all(("dns", "vpn", "10.1.2.53#dns.corp.example"), ("dnsovertls", "vpn", "yes"))
    host.await_who("git.corp.example", 85, SOON_S)
    assert ["tls://10.1.2.53#dns.corp.example"] == host.upstreams_of("corp.example")
    assert [1] == host.who("www.example.com"), "the other link has plain DNS"

    host.resolvectl("dns", "vpn", "10.1.2.53#other.example")
    wait_until(lambda: host.ask("a.corp.example").status == "SERVFAIL", SOON_S, "the other name is asked for")
    assert "not good for other.example" in pydns.stderr_text()

    host.resolvectl("dns", "vpn", "10.1.2.53")
    host.await_who("b.corp.example", 85, SOON_S)
    host.resolvectl("dnsovertls", "vpn", "no")
    host.await_who("c.corp.example", 2, SOON_S)


def test_what_is_configured_comes_first(host: ResolvedHost) -> None:
    host.serve('routes = [{ suffix = "corp.example", upstreams = ["10.1.3.53"] }]')
    assert [3] == host.who("git.corp.example")
    assert [1] == host.who("www.example.com")


@pytest.mark.parametrize(
    ("mode", "asked"),
    [("auto", ([3], [3])), ("on", ([2], [3])), ("off", ([3], [3]))],
)
def test_upstreams_that_are_configured(host: ResolvedHost, mode: str, asked: tuple[list[int], list[int]]) -> None:
    host.serve('upstreams = ["10.1.3.53"]', f'resolved = "{mode}"')
    assert asked == (host.who("git.corp.example"), host.who("www.example.com"))


def test_off_leaves_it_to_the_stub(host: ResolvedHost) -> None:
    host.serve('resolved = "off"')
    assert ["127.0.0.53:53"] == host.upstreams_of("git.corp.example")
    assert [2] == host.who("git.corp.example")


def test_a_resolved_that_ends_leaves_its_last_word(host: ResolvedHost) -> None:
    pydns = host.serve()
    assert [2] == host.who("git.corp.example")

    host.resolved.kill9()
    wait_until(lambda: "it does not run" in pydns.stderr_text(), SOON_S, "it is noticed")
    assert ([2], [1]) == (host.who("a.corp.example"), host.who("b.example"))
    assert "what it said last counts on" in pydns.stderr_text()

    host.start_resolved()
    host.resolvectl("dns", "lab", "10.1.3.53")
    host.resolvectl("domain", "lab", "corp.example")
    host.resolvectl("revert", "vpn")
    host.await_who("c.corp.example", 3, SOON_S)
    assert "Traceback" not in pydns.stderr_text()


def test_a_bus_that_ends_is_looked_for_again(host: ResolvedHost) -> None:
    pydns = host.serve()
    host.bus.kill9()
    wait_until(lambda: "the system bus" in pydns.stderr_text(), SOON_S, "it is noticed")
    assert ([2], [1]) == (host.who("a.corp.example"), host.who("b.example"))

    host.resolved.kill9()
    host.start_bus()
    host.start_resolved()
    host.resolvectl("domain", "lan", "corp.example")
    host.resolvectl("revert", "vpn")
    host.await_who("c.corp.example", 1, SOON_S)
    assert "Traceback" not in pydns.stderr_text()


def test_another_resolv_conf_ends_the_import_and_the_link_brings_it_back(host: ResolvedHost) -> None:
    host.serve()
    assert [2] == host.who("git.corp.example")

    replaced(host.etc / "resolv.conf", "# by NetworkManager\nnameserver 10.1.3.53\n")
    assert host.await_who("b.corp.example", 3) < SOON_S
    assert [3] == host.who("b.example")

    relinked(host.etc / "resolv.conf", "../run/systemd/resolve/resolv.conf")
    host.await_who("c.corp.example", 2)
    assert [1] == host.who("c.example")


def test_a_resolved_that_hangs_delays_no_start(host: ResolvedHost) -> None:
    host.resolved.signal(signal.SIGSTOP)
    began = time.monotonic()
    pydns = host.serve()
    assert time.monotonic() - began < 5
    assert ["172.18.0.2"] == host.ask("db.").rdata
    wait_until(lambda: "no answer within 2 s" in pydns.stderr_text(), SOON_S, "it is said")

    host.resolved.signal(signal.SIGCONT)
    wait_until(lambda: host.upstreams_of("corp.example") == ["10.1.2.53:53"], SOON_S, "it is read")
    assert [2] == host.who("git.corp.example")


@pytest.mark.parametrize("trouble", ["no bus", "access denied", "no resolved"])
def test_without_an_answer_the_servers_of_resolv_conf_are_asked(host: ResolvedHost, trouble: str) -> None:
    if trouble == "no bus":
        host.bus.kill9()
    elif trouble == "no resolved":
        host.resolved.kill9()
    else:
        host.bus.kill9()
        host.resolved.kill9()
        policy = host.folder / "bus.conf"
        policy.write_text(
            policy.read_text().replace(
                "</busconfig>",
                '<policy context="mandatory"><deny send_destination="org.freedesktop.resolve1"'
                ' send_interface="org.freedesktop.DBus.Properties"/></policy></busconfig>',
            )
        )
        host.start_bus()
        host.start("resolved-again", *host.resolved.argv[-1:])
        stub = host.run_folder / "systemd/resolve/stub-resolv.conf"
        wait_until(stub.exists, SOON_S, "resolved writes its files")
    pydns = host.serve()
    said = {"no bus": "the system bus", "access denied": "access is denied", "no resolved": "it does not run"}[trouble]
    wait_until(lambda: said in pydns.stderr_text(), SOON_S, "it is said")

    assert ["127.0.0.53:53"] == host.upstreams_of("corp.example")
    if trouble == "no bus":
        assert [2] == host.who("git.corp.example"), "the stub answers"
    warnings = [line for line in pydns.stderr_text().splitlines() if "systemd-resolved" in line]
    assert 1 == len(warnings), warnings
    assert "Traceback" not in pydns.stderr_text()


def test_a_question_starts_no_resolved(host: ResolvedHost) -> None:
    """Who has stopped it does not want it back because of us; the bus would start it for anybody else."""
    host.resolved.kill9()
    host.bus.kill9()
    started = host.folder / "started"
    service = host.folder / "services/org.freedesktop.resolve1.service"
    service.parent.mkdir()
    service.write_text(f"[D-BUS Service]\nName=org.freedesktop.resolve1\nExec=/usr/bin/touch {started}\nUser=root\n")
    bus_conf = host.folder / "bus.conf"
    servicedir = f"<servicedir>{service.parent}</servicedir></busconfig>"
    bus_conf.write_text(bus_conf.read_text().replace("</busconfig>", servicedir))
    host.start_bus()
    pydns = host.serve()
    wait_until(lambda: "it does not run" in pydns.stderr_text(), SOON_S, "it is said")
    assert not started.exists()

    host.start("another", str(RESOLVECTL), "status")
    wait_until(started.exists, SOON_S, "the question of another starts it")


def test_there_is_no_public_fall_back(host: ResolvedHost) -> None:
    """FallbackDNS= of resolved.conf is nobody that a user of this host has chosen."""
    conf = host.etc / "systemd/resolved.conf"
    conf.write_text(conf.read_text().replace("FallbackDNS=", "FallbackDNS=10.1.3.53"))
    for link in ("lan", "vpn"):
        host.resolvectl("revert", link)
    host.resolved.kill9()
    host.start_resolved()
    host.serve()

    assert "SERVFAIL" == host.ask("www.example.com").status
    host.resolvectl("dns", "lan", "10.1.1.53")
    host.await_who("www.example.com", 1, SOON_S)


def test_people_are_told(host: ResolvedHost) -> None:
    pydns = host.serve()
    host.who("git.corp.example")
    explained = host.pydns("explain", "git.corp.example")
    offline = host.pydns("explain", "git.corp.example", "--offline")

    for text in (explained, offline):
        assert "10.1.2.53:53" in text
        assert "the route for corp.example (systemd-resolved, vpn)" in text
    listed = host.pydns("upstreams")
    assert re.search(r"^10\.1\.1\.53:53 ", listed, re.MULTILINE)
    assert re.search(r"^corp\.example \(systemd-resolved, vpn\) +10\.1\.2\.53:53$", listed, re.MULTILINE), listed
    assert "now forwarding to 127.0.0.53" not in pydns.stderr_text()


def test_global_servers_and_domains_count_too(host: ResolvedHost) -> None:
    conf = host.etc / "systemd/resolved.conf"
    conf.write_text(conf.read_text() + "DNS=10.1.3.53\nDomains=~everywhere.example\n")
    host.resolved.kill9()
    host.start_resolved()
    host.resolvectl("default-route", "lan", "no")
    host.serve()

    assert ([3], [3], [2]) == tuple(map(host.who, ("a.everywhere.example", "www.example.com", "corp.example")))


def test_a_sidecar_has_the_split_of_its_host(host: ResolvedHost) -> None:
    with host.container() as container:
        host.sidecar(container)

        assert ["192.0.2.2"] == host.ask_inside(container, "git.corp.example")
        assert ["192.0.2.1"] == host.ask_inside(container, "www.example.com")
        host.resolvectl("domain", "lan", "corp.example", "~.")
        host.resolvectl("revert", "vpn")
        wait_until(lambda: host.ask_inside(container, "b.corp.example") == ["192.0.2.1"], SOON_S, "the split changes")


def test_an_agent_gives_every_namespace_the_split_of_the_host(host: ResolvedHost) -> None:
    names = ("web", "db")
    host.agent(*names)

    def asked(name: str, question: str) -> list[str]:
        command = ("ip", "netns", "exec", name, "dig", "@127.0.0.11", "+tries=1", "+time=5", question)
        return parse_dig(host.run(*command).stdout).rdata

    for name in names:
        assert ["172.18.0.2"] == asked(name, "db.")
        assert ["192.0.2.2"] == asked(name, "git.corp.example")
        assert ["192.0.2.1"] == asked(name, "www.example.com")
    host.resolvectl_all(("domain", "lan", "corp.example"), ("revert", "vpn"))
    for name in names:
        wait_until(lambda name=name: asked(name, "b.corp.example") == ["192.0.2.1"], SOON_S, "it changes")  # type: ignore[misc]
