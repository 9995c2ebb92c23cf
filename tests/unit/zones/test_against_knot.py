"""The look-up against Knot DNS: the same zone file, the same questions, the same answers.

Where knotd is installed it is started and asked; elsewhere what it answered stands in knot_answers.json, which
``python -m tests.unit.zones.test_against_knot`` writes anew.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from resolver.wire.name import to_text
from resolver.zones.model import Zone
from tests.unit.zones.helpers import ask, lines, rcode, zone_of

Said = dict[str, list[str]]

RECORDED = Path(__file__).with_name("knot_answers.json")
ORIGIN = "example.test."
ZONE = """\
$ORIGIN example.test.
$TTL 3600
@        300 SOA  ns1 hostmaster 2024010101 3600 600 86400 60
@            NS   ns1
@            NS   ns.example.org.
@            A    192.0.2.1
@            MX   10 mail
@            MX   20 mail.example.org.
@            TXT  "hello" "world"
ns1          A    192.0.2.53
ns1          AAAA 2001:db8::53
mail         A    192.0.2.25
web      120 A    192.0.2.80
web      120 A    192.0.2.81
www          CNAME web
loud         CNAME WEB
chain1       CNAME chain2
chain2       CNAME chain3
chain3       CNAME web
out          CNAME www.example.org.
outchain     CNAME out
dangling     CNAME nothing
toent        CNAME b.ent
todeleg      CNAME host.child
nosuch       CNAME a.deep.wild
_http._tcp   SRV  0 5 80 web
_http._tcp   SRV  1 5 80 ns1
svc          HTTPS 1 web alpn=h2
svc          A    192.0.2.90
; an empty non-terminal: b.ent and ent
a.b.ent      A    192.0.2.2
; wildcards
*.wild       A    192.0.2.3
*.wild       TXT  "star"
exact.wild   A    192.0.2.4
sub.ent.wild A    192.0.2.5
*.cwild      CNAME web
*.cout       CNAME www.example.org.
; a wildcard that is an empty non-terminal
x.*.starent  A    192.0.2.6
; delegations
child        NS   ns.child
child        NS   ns1
child        DS   12345 8 2 49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE9D4F9A5B1AFC8F3A5D1A6CDE
ns.child     A    192.0.2.54
bare         NS   ns.example.org.
deep.er.cut  NS   ns.child
; redirections
old          DNAME new
host.new     A    192.0.2.70
away         DNAME example.org.
"""
QUESTIONS = """\
example.test. SOA
example.test. NS
example.test. A
example.test. AAAA
example.test. MX
example.test. TXT
example.test. DS
web.example.test. A
WeB.Example.TEST. A
web.example.test. AAAA
www.example.test. A
www.example.test. CNAME
www.example.test. AAAA
loud.example.test. A
chain1.example.test. A
chain1.example.test. MX
out.example.test. A
outchain.example.test. AAAA
dangling.example.test. A
toent.example.test. A
todeleg.example.test. A
nosuch.example.test. A
_http._tcp.example.test. SRV
_tcp.example.test. SRV
svc.example.test. HTTPS
nothing.example.test. A
x.y.z.nothing.example.test. A
ent.example.test. A
b.ent.example.test. A
a.b.ent.example.test. A
x.b.ent.example.test. A
a.wild.example.test. A
A.b.c.WILD.example.test. A
a.wild.example.test. AAAA
a.wild.example.test. TXT
exact.wild.example.test. TXT
x.exact.wild.example.test. A
ent.wild.example.test. A
other.ent.wild.example.test. A
wild.example.test. A
*.wild.example.test. A
foo.*.wild.example.test. A
a.cwild.example.test. A
a.cwild.example.test. TXT
a.cout.example.test. A
y.starent.example.test. A
x.*.starent.example.test. A
*.starent.example.test. A
child.example.test. A
child.example.test. NS
child.example.test. DS
host.child.example.test. A
ns.child.example.test. A
a.b.child.example.test. DS
bare.example.test. DS
x.bare.example.test. A
er.cut.example.test. A
x.deep.er.cut.example.test. AAAA
old.example.test. A
old.example.test. DNAME
host.old.example.test. A
Host.OLD.example.test. AAAA
host.old.example.test. CNAME
nothing.old.example.test. A
a.away.example.test. A
"""
CONF = """\
server:
  rundir: "{folder}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "{folder}"
log:
- target: stderr
  any: error
zone:
- domain: {origin}
  file: "{folder}/example.test.zone"
  semantic-checks: soft
"""


@pytest.fixture(scope="module")
def knot() -> Said:
    """What Knot says to each question."""
    if shutil.which("knotd"):
        return ask_knot()
    recorded: Said = json.loads(RECORDED.read_text())
    return recorded


@pytest.fixture(scope="module")
def zone() -> Zone:
    return zone_of(ZONE, head="")


@pytest.mark.parametrize("question", QUESTIONS.splitlines())
def test_answers_are_knots(zone: Zone, knot: Said, question: str) -> None:
    """RFC 1034 4.3.2, RFC 2308 3, RFC 4592, RFC 6672: one zone, one meaning; letters apart, which Knot folds."""
    qname, qtype = question.split()

    found = ask(zone, qname, qtype)

    said = [
        f"{rcode(found)} {'aa' if found.authoritative else 'no aa'}",
        *(f"answer {line}" for line in sorted(lines(found.answer))),
        *(f"authority {line}" for line in sorted(lines(found.authority))),
        *(f"additional {line}" for line in sorted(lines(found.additional))),
    ]
    assert sorted(line.lower() for line in knot[question]) == sorted(line.lower() for line in said)


def test_recorded_answers_are_of_these_questions() -> None:
    """A machine without Knot tests the same promises."""
    recorded = json.loads(RECORDED.read_text())

    assert QUESTIONS.splitlines() == list(recorded)


def ask_knot() -> Said:
    with started_knot() as port:
        said: Said = {}
        for question in QUESTIONS.splitlines():
            qname, qtype = question.split()
            reply = dns.query.udp(dns.message.make_query(qname, qtype, payload=1232), "127.0.0.1", 5, port)
            flags = "aa" if reply.flags & dns.flags.AA else "no aa"
            said[question] = [f"{dns.rcode.to_text(reply.rcode())} {flags}"]
            for title, section in (
                ("answer", reply.answer),
                ("authority", reply.authority),
                ("additional", reply.additional),
            ):
                said[question] += sorted(
                    f"{title} {to_text(rrset.name.to_wire() or b'')} {rrset.ttl} "
                    f"{dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
                    for rrset in section
                    for rdata in rrset
                )
        return said


@contextmanager
def started_knot() -> Iterator[int]:
    """A knotd on a free port of 127.0.0.1, gone again afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "example.test.zone").write_text(ZONE)
        port = free_port()
        conf = Path(folder) / "knot.conf"
        conf.write_text(CONF.format(folder=folder, port=port, origin=ORIGIN))
        with subprocess.Popen(["knotd", "-c", str(conf)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as knotd:
            try:
                wait_for_answer(port, knotd)
                yield port
            finally:
                knotd.terminate()
                knotd.communicate(timeout=20)


def free_port() -> int:
    """A port that is free for UDP and TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", port))
    return port


def wait_for_answer(port: int, knotd: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    query = dns.message.make_query(ORIGIN, "SOA")
    while time.monotonic() < deadline:
        assert knotd.poll() is None, knotd.stdout and knotd.stdout.read()
        try:
            if dns.query.udp(query, "127.0.0.1", 0.2, port).answer:
                return
        except (dns.exception.Timeout, OSError):
            continue
    raise AssertionError("knotd does not answer")


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(ask_knot(), indent=1) + "\n")
