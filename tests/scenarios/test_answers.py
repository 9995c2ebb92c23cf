"""What a client sees on the wire of a running server, over UDP and TCP, IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from tests.scenarios.conftest import Serve
from tests.scenarios.live import (
    REGISTRY,
    At,
    Live,
    Stream,
    answers,
    ask,
    has_flag,
    is_clean,
    over_udp,
    pool,
    udp_bytes,
    until,
)

ZONE = """$ORIGIN static.example.
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 192.0.2.53
www IN A 192.0.2.80
big IN TXT "{text}"
""".replace("{text}", '" "'.join(["x" * 200] * 20))

ROTATED = pool("trio", 3, "three", "172.31")
HUGE = pool("crowd", 1500)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(
        tmp_path_factory.mktemp("answers"),
        registry=REGISTRY + ROTATED + HUGE,
        zones={"static.zone": ZONE},
        listen=("127.0.0.1:0", "[::1]:0", "127.0.0.3:0"),
    ) as live:
        yield live
        assert live.process.poll() is None
        assert is_clean(live.stderr), live.stderr


@pytest.mark.parametrize("listener", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("over_tcp", [False, True], ids=["UDP", "TCP"])
def test_every_transport_answers_names_reverse_zones_and_docker_internal(
    live: Live, listener: int, over_tcp: bool
) -> None:
    at = live.listening[listener]

    def once(name: str, rtype: str) -> list[str]:
        if not over_tcp:
            return answers(over_udp(at, ask(name, rtype)))
        with Stream(at) as stream:
            return answers(stream.ask(name, rtype))

    for _ in range(3):  # the first is made, the others are ready ones
        assert once("db.", "A") == ["172.18.0.2"]
        assert once("db.mynet.", "AAAA") == ["fd00:18::2"]
        assert once("any.thing.web.", "A") == ["172.18.0.3"]
        assert once("2.0.18.172.in-addr.arpa.", "PTR") == ["db.mynet."]
        assert once("_5432._tcp.db.", "SRV") == ["0 0 5432 db.mynet."]
        assert once("www.static.example.", "A") == ["192.0.2.80"]
        assert once("host.docker.internal.", "A") == ["172.18.0.1"]


def test_a_listener_answers_dig_over_both_transports(live: Live) -> None:
    for extra in ((), ("+tcp",), ("+nocookie", "+noedns"), ("+dnssec",)):
        command = ["dig", f"@{live.at.host}", "-p", str(live.at.port), *extra, "+tries=1", "db"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "status: NOERROR" in shown
        assert re.search(r"flags: qr rd ra;", shown)
        assert re.search(r"^db\.\s+600\s+IN\s+A\s+172\.18\.0\.2$", shown, re.MULTILINE)
        assert "WARNING" not in shown


@pytest.mark.parametrize("cookie", [False, True], ids=["ready replies", "with a cookie"])
def test_identical_queries_get_the_addresses_in_turn(live: Live, cookie: bool) -> None:
    """A client that takes the first address spreads over all of them, on the fast path and beside it."""
    options = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")] if cookie else None
    query = ask("trio.", use_edns=cookie, options=options)
    seen = [answers(over_udp(live.at, query)) for _ in range(6)]
    assert {first for first, *_ in seen} == {"172.31.0.2", "172.31.0.3", "172.31.0.4"}
    assert all(sorted(order) == ["172.31.0.2", "172.31.0.3", "172.31.0.4"] for order in seen)
    assert seen[:3] == seen[3:]
    assert len({tuple(order) for order in seen[:3]}) == 3


def test_letter_case_comes_back_as_it_was_asked(live: Live) -> None:
    for name in ("dB.", "Db.MyNet.", "DB.", "dB."):
        reply = live.udp(name)
        assert reply.question[0].name.to_text() == name
        assert reply.answer[0].name.to_text() == name
        assert answers(reply) == ["172.18.0.2"]


def test_flags_are_those_of_a_resolver(live: Live) -> None:
    """RD and CD echoed, RA set, AA for zones only, AD never."""
    for flags in (0, dns.flags.RD, dns.flags.CD, dns.flags.RD | dns.flags.CD | dns.flags.AD):
        for name, is_authoritative in (("db.", False), ("www.static.example.", True), ("host.docker.internal.", True)):
            for _ in range(2):
                query = ask(name, flags=flags)
                reply = over_udp(live.at, query)
                expected = flags & ~dns.flags.AD | dns.flags.QR | dns.flags.RA
                assert reply.flags == expected | (dns.flags.AA if is_authoritative else 0)


def test_what_is_no_query_gets_the_contracts_verdict(live: Live) -> None:
    good = ask("db.").to_wire()
    status = bytearray(good)
    status[2] = 2 << 3
    for octets, rcode in (
        (bytes(status), dns.rcode.NOTIMP),
        (good[:4] + b"\0\0" + good[6:], dns.rcode.FORMERR),  # no question
        (good[:4] + b"\0\2" + good[6:], dns.rcode.FORMERR),  # two
        (good[:-3], dns.rcode.FORMERR),
        (good[:12] + b"\xc0\x0c\0\1\0\1", dns.rcode.FORMERR),  # a name that points at itself
        (good + b"x" * 5000, dns.rcode.NOERROR),  # octets that trail are no matter… up to what is read
    ):
        reply = dns.message.from_wire(udp_bytes(live.at, octets), ignore_trailing=True)
        assert reply.id == int.from_bytes(good[:2], "big")
        assert reply.rcode() == rcode, octets[:40]


def test_what_cannot_be_a_query_gets_silence_and_the_next_one_an_answer(live: Live) -> None:
    good = ask("db.").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(live.at)
        for octets in (b"", b"x", good[:11], good[:2] + b"\x80\0" + good[4:], bytes(12)[:2] + b"\xff" * 10):
            sock.send(octets)
        sock.send(good)
        assert dns.message.from_wire(sock.recv(4096)).id == int.from_bytes(good[:2], "big")
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(4096)


def test_classes_transfers_and_edns_versions_are_refused(live: Live) -> None:
    assert live.udp("db.", rdclass="CH").rcode() == dns.rcode.REFUSED
    assert live.udp("static.example.", "AXFR").rcode() == dns.rcode.REFUSED
    reply = live.udp("db.", use_edns=1)
    assert reply.rcode() == dns.rcode.BADVERS
    assert reply.edns == 0


def test_an_opt_comes_back_to_those_who_sent_one(live: Live) -> None:
    for dnssec_ok in (False, True):
        for _ in range(2):
            reply = live.udp("db.", use_edns=0, payload=4096, want_dnssec=dnssec_ok)
            assert (reply.edns, reply.payload, bool(reply.ednsflags & dns.flags.DO)) == (0, 1232, dnssec_ok)
    assert live.udp("db.").edns == -1


@pytest.mark.parametrize("payload", [0, 100, 512, 1232, 4096, 65535])
def test_a_reply_never_exceeds_the_clients_size(live: Live, payload: int) -> None:
    """Below 512 means 512; what does not fit is left out whole, and TC says so."""
    for name, rtype in (("crowd.", "A"), ("big.static.example.", "TXT")):
        query = ask(name, rtype, use_edns=0, payload=payload)
        for _ in range(2):
            octets = udp_bytes(live.at, query)
            reply = dns.message.from_wire(octets)
            assert len(octets) <= max(payload, 512)
            assert has_flag(reply, dns.flags.TC) == (len(answers(reply)) < (1500 if rtype == "A" else 1))


def test_a_truncated_answer_is_whole_over_tcp(live: Live) -> None:
    assert has_flag(live.udp("crowd."), dns.flags.TC)
    with live.tcp() as stream:
        reply = stream.ask("crowd.")
    assert not has_flag(reply, dns.flags.TC)
    assert len(set(answers(reply))) == 1500


@pytest.mark.parametrize("name", ["crowd.", "CrOwD.big."])
def test_a_reply_beyond_the_reach_of_compression_pointers_is_well_formed(live: Live, name: str) -> None:
    """More than 16 KB: what stands behind offset 0x3FFF cannot be pointed at (RFC 1035 4.1.4)."""
    with live.tcp() as stream:
        for _ in range(3):
            stream.send(ask(name))
            octets = stream.receive_bytes()
            assert len(octets) > 0x4000
            reply = dns.message.from_wire(octets)  # raises on a pointer that leads nowhere
            assert len(set(answers(reply))) == 1500
            assert {rrset.name.to_text() for rrset in reply.answer} == {name}
    command = ["dig", f"@{live.at.host}", "-p", str(live.at.port), "+tcp", "+short", name]
    assert len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()) == 1500


@pytest.mark.parametrize(("wildcard", "others"), [("0.0.0.0", ("127.0.0.2", "127.9.8.7")), ("[::]", ("::1",))])
def test_a_wildcard_listener_answers_from_the_address_that_was_asked(
    serve: Serve, wildcard: str, others: tuple[str, ...]
) -> None:
    """The client's socket is connected: a reply from any other address would never reach it."""
    live = serve(listen=(f"{wildcard}:0",))
    for host in others:
        at = At(host, live.at.port)
        for _ in range(3):
            assert answers(over_udp(at, ask("db."))) == ["172.18.0.2"]
        assert answers(over_udp(at, b"\0\7" + ask("db.", id=1, use_edns=0).to_wire()[2:])) == ["172.18.0.2"]
        with Stream(at) as stream:
            assert answers(stream.ask("db.")) == ["172.18.0.2"]


@pytest.mark.root
def test_an_ipv6_wildcard_listener_answers_from_any_of_the_machines_addresses(tmp_path: Path) -> None:
    """In a network namespace of its own, because loopback has but one IPv6 address; dig refuses another source."""
    own_network = ("unshare", "-n", "sh", "-c", 'ip link set lo up; ip addr add fd00::2/128 dev lo; exec "$@"', "sh")
    with Live(tmp_path, listen=("[::]:0",), prefix=own_network) as live:
        inside = ["nsenter", f"--net=/proc/{live.process.pid}/ns/net"]
        for host in ("fd00::2", "::1", "fd00::2"):
            dig = [*inside, "dig", f"@{host}", "-p", str(live.at.port), "+tries=1", "+time=3", "+short", "db"]
            shown = subprocess.run(dig, capture_output=True, text=True, check=False)
            assert shown.stdout == "172.18.0.2\n", shown.stdout + shown.stderr


def test_a_burst_of_queries_is_answered_to_the_last_one(live: Live) -> None:
    """More than the listener takes at a wake-up: what is left in the socket is not forgotten."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        sock.settimeout(5)
        sock.connect(live.at)
        wires = [ask("db." if number % 2 else f"absent-{number}.").to_wire()[2:] for number in range(500)]
        for number, wire in enumerate(wires):
            sock.send(number.to_bytes(2, "big") + wire)
        heard: set[int] = set()
        with contextlib.suppress(TimeoutError):
            while len(heard) < len(wires):
                heard.add(int.from_bytes(sock.recv(4096)[:2], "big"))
    assert len(heard) == len(wires)


def test_only_the_configured_addresses_answer(live: Live) -> None:
    third = live.listening[2]
    assert third.host == "127.0.0.3"
    assert answers(over_udp(third, ask("db."))) == ["172.18.0.2"]
    elsewhere = At("127.0.0.4", third.port)
    with pytest.raises(ConnectionRefusedError):
        until(lambda: udp_bytes(elsewhere, ask("db.")))
