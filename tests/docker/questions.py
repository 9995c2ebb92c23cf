"""What both resolvers are asked, and where pydns answers otherwise on purpose: each such question with what it says.

A question that is not among the differences has the same status, the same records with the same TTL, and the same flags
from both. Placeholders are `Topology.fill`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.docker.beside import Outcome

ASKERS: dict[str, tuple[str, ...] | str] = {
    "web": ("mynet",),
    "db": ("mynet", "othernet"),
    "othercli": ("othernet",),
    "linker": "{linker.mynet.ip4}",
    "intcli": ("intnet",),
    "both": ("intnet", "mynet"),
    "v6a": ("v6net",),
    "v6b": ("v6net", "mynet"),
    "dotty": ("my.net",),
    "adder": "{adder.mynet.ip4}",
}
"""Who asks, and the networks that pydns is told; where it is an address, pydns has to know the asker by that."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of one container's, with placeholders; and what pydns says where that is not what Docker says."""

    asker: str
    name: str
    rtype: str
    pydns: str = ""
    """Its outcome: a status, NODATA, or records ``TTL type data; …`` with placeholders. Empty: the same as Docker."""
    because: str = ""

    def expected(self, fill: Callable[[str], str]) -> Outcome:
        """What pydns has to say where the two differ."""
        status, negative = ("NOERROR", True) if self.pydns == NODATA else (self.pydns, self.pydns == "NXDOMAIN")
        flags = {"qr", "rd", "ra"} | ({"aa"} if self.because == HOST else set())
        if negative or status == "SERVFAIL":
            return Outcome(status, flags=frozenset(flags), has_soa=negative)
        records = frozenset(f"{fill(self.name)}. {fill(record)}" for record in self.pydns.split("; "))
        return Outcome("NOERROR", records, frozenset(flags))


NODATA = "NODATA"
STAYS = "a known name is answered here whatever the type; Docker asks the world, which may say that it does not exist"
MISSPELT = "an unknown single-label host is answered here; Docker tells the world every name of an absent container"
BELOW = "a name below an existing network's own is answered here; Docker asks the world for it"
FOLDED = "letter case never matters (RFC 4343); Docker folds neither a network's name nor a link's alias"
REVERSE = "a reverse name in a network's subnet is answered here; Docker asks the world about private addresses"
SILENT = "Docker gives no answer at all to a reverse name in upper case"
CUT_OFF = "who is on internal networks only is told so at once; Docker tries to forward"
HOST = "docker.internal is answered here; Docker has it in no container's DNS"
SERVICE = "the port that a container exposes; Docker has no SRV records"
OWN_HOSTS = "an --add-host entry is answered to the container that has it; Docker writes it to /etc/hosts only"
SMALL_ANY = "ANY gets one small RRset (RFC 8482); Docker asks the world"

_SAME = """
web: db A AAAA MX; DB A; dB A AAAA; db.mynet A AAAA MX; DB.mynet A; web A; www A MX; WWW A; app.mynet A
web: web-1.corp.test A; WEB-1.Corp.Test A; web-1.corp.test.mynet A; {web.id12} A; {db.id12} A AAAA MX; {db.id12}.mynet A
web: pool A AAAA MX; POOL A; pool.mynet A; pool1 A; pool2.mynet A; hosty A; custom-host A; Custom-Host A
web: custom-host.mynet A; both A; v6b A AAAA; svc.one A MX; SVC.One A; svc.one.mynet A; api.internal.corp A AAAA
web: mixedcase A; MIXEDCASE A; MixedCase.mynet A; under_score A; UPPER A; upper A; Upper.mynet A; linker A; adder A
web: {web.mynet.rev4} PTR; {db.mynet.rev4} PTR; {pool1.mynet.rev4} PTR; {svc.one.mynet.rev4} PTR; {UPPER.mynet.rev4} PTR
web: {v6b.mynet.rev4} PTR; 53.113.0.203.in-addr.arpa PTR; 3.5.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR
web: away.example A AAAA TXT MX SRV NS ANY HTTPS; Away.Example A; _sip._udp.away.example SRV; x.y A
web: bweb.bridge A; web.corp A; extra.test A
db: db A; web A; pool A; pool.mynet A; pool.othernet A; POOL.othernet A; dbother A AAAA; dbother.othernet A; DbOther A
db: db.mynet A; db.othernet A; othercli A MX; othercli.othernet A; {othercli.id12} A; pool3 A; {pool2.id12}.othernet A
db: {db.othernet.rev4} PTR; {db.mynet.rev4} PTR; {othercli.othernet.rev4} PTR; {pool2.othernet.rev4} PTR; away.example A
othercli: db A; dbother A; pool A; pool2 A; pool3 A MX; db.othernet A; {db.id12} A; {db.othernet.rev4} PTR
othercli: away.example TXT
linker: Database A AAAA MX; Database.mynet A; first A; first.mynet A; db A; pool1 A; web A; {db.mynet.rev4} PTR
linker: away.example A
intcli: secret A AAAA MX; secret.intnet A; SECRET A; intcli A; both A; both.intnet A; {secret.id12} A
intcli: {secret.intnet.rev4} PTR; {both.intnet.rev4} PTR
both: both A; secret A; secret.intnet A; web A; db.mynet A; intcli A; both.intnet A; pool A; {both.intnet.rev4} PTR
both: {secret.intnet.rev4} PTR; {both.mynet.rev4} PTR; away.example A AAAA
v6a: six A AAAA MX; SIX AAAA; six.v6net A AAAA; v6a A AAAA; v6b A AAAA; v6b.v6net AAAA; {v6b.id12} AAAA
v6a: {v6a.v6net.rev6} PTR; {v6b.v6net.rev6} PTR; {v6b.v6net.rev4} PTR; away.example AAAA
v6b: v6b A AAAA; v6b.mynet A AAAA; v6b.v6net A AAAA; web A; six A AAAA; pool A; {v6b.mynet.rev4} PTR
v6b: {v6b.v6net.rev6} PTR
dotty: dotty A; dotty.my.net A MX; x.y A AAAA; X.Y A; x.y.my.net A; {dotty.id12}.my.net A; {dotty.my.net.rev4} PTR
dotty: svc.one A; away.example A
adder: adder A; web A; {adder.mynet.rev4} PTR; away.example A
"""
"""``asker: name TYPE…; …``"""

_DIFFERENCES: tuple[tuple[str, str, str, str, str], ...] = (
    # asker, name, types, what pydns says, why
    ("web", "db", "TXT SRV HTTPS NS CNAME SOA", "NODATA", STAYS),
    ("web", "db", "ANY", "600 A {db.mynet.ip4}", SMALL_ANY),
    ("web", "www", "TXT", "NODATA", STAYS),
    ("web", "db.mynet", "TXT HTTPS", "NODATA", STAYS),
    ("web", "{db.id12}", "TXT", "NODATA", STAYS),
    ("web", "svc.one", "TXT", "NODATA", STAYS),
    ("web", "api.internal.corp", "SRV", "NODATA", STAYS),
    ("web", "{db.mynet.rev4}", "TXT A", "NODATA", STAYS),
    ("web", "nosuch", "A AAAA MX SRV HTTPS ANY", "NXDOMAIN", MISSPELT),
    ("web", "othercli", "A", "NXDOMAIN", MISSPELT),
    ("web", "dbother", "A", "NXDOMAIN", MISSPELT),
    ("web", "pool3", "A", "NXDOMAIN", MISSPELT),
    ("web", "secret", "A", "NXDOMAIN", MISSPELT),
    ("web", "six", "AAAA", "NXDOMAIN", MISSPELT),
    ("web", "Database", "A", "NXDOMAIN", MISSPELT),
    ("web", "first", "A", "NXDOMAIN", MISSPELT),
    ("web", "gone", "A", "NXDOMAIN", MISSPELT),
    ("web", "went", "A", "NXDOMAIN", MISSPELT),
    ("web", "{gone.id12}", "A", "NXDOMAIN", MISSPELT),
    ("web", "bweb", "A", "NXDOMAIN", MISSPELT),
    ("web", "printer", "A", "NXDOMAIN", MISSPELT),
    ("web", "gone.mynet", "A", "NXDOMAIN", BELOW),
    ("web", "nosuch.mynet", "A TXT", "NXDOMAIN", BELOW),
    ("web", "db.othernet", "A", "NXDOMAIN", BELOW),
    ("web", "dbother.othernet", "A", "NXDOMAIN", BELOW),
    ("web", "secret.intnet", "A", "NXDOMAIN", BELOW),
    ("web", "dotty.my.net", "A", "NXDOMAIN", BELOW),
    ("web", "db.mynet.mynet", "A", "NXDOMAIN", BELOW),
    ("web", "mynet", "A", "NODATA", BELOW),
    ("web", "DB.MyNet", "A", "600 A {db.mynet.ip4}", FOLDED),
    ("web", "db.MYNET", "A", "600 A {db.mynet.ip4}", FOLDED),
    ("web", "svc.one.MYNET", "A", "600 A {svc.one.mynet.ip4}", FOLDED),
    ("web", "{mynet.gateway-rev}", "PTR", "NXDOMAIN", REVERSE),
    ("web", "{mynet.unused-rev}", "PTR", "NXDOMAIN", REVERSE),
    ("web", "{db.othernet.rev4}", "PTR", "NXDOMAIN", REVERSE),
    ("web", "{secret.intnet.rev4}", "PTR", "NXDOMAIN", REVERSE),
    ("web", "{v6a.v6net.rev6}", "PTR", "NXDOMAIN", REVERSE),
    ("web", "{db.mynet.REV4}", "PTR", "600 PTR db.mynet.", SILENT),
    ("web", "_80._tcp.web", "SRV", "600 SRV 0 0 80 web.mynet.", SERVICE),
    ("db", "_80._tcp.www.mynet", "SRV", "600 SRV 0 0 80 web.mynet.", SERVICE),
    ("web", "_81._tcp.web", "SRV", "NXDOMAIN", SERVICE),
    ("adder", "extra.test", "A", "600 A 192.0.2.250", OWN_HOSTS),
    ("adder", "Extra.Test", "AAAA", "NODATA", OWN_HOSTS),
    ("adder", "printer", "A", "600 A 192.0.2.251", OWN_HOSTS),
    ("web", "host.docker.internal", "A", "600 A {mynet.gateway}", HOST),
    ("web", "host.docker.internal", "AAAA MX", "NODATA", HOST),
    ("web", "gateway.docker.internal", "A", "600 A {mynet.gateway}", HOST),
    ("web", "nosuch.docker.internal", "A", "NXDOMAIN", HOST),
    ("db", "dbother.mynet", "A", "NXDOMAIN", BELOW),
    ("db", "web.othernet", "A", "NXDOMAIN", BELOW),
    ("db", "pool", "TXT", "NODATA", STAYS),
    ("db", "pool.OtherNet", "A", "600 A {pool2.othernet.ip4}; 600 A {pool3.othernet.ip4}", FOLDED),
    ("db", "host.docker.internal", "A", "600 A {mynet.gateway}", HOST),
    ("othercli", "web", "A", "NXDOMAIN", MISSPELT),
    ("othercli", "pool1", "A", "NXDOMAIN", MISSPELT),
    ("othercli", "db.mynet", "A", "NXDOMAIN", BELOW),
    ("othercli", "{web.mynet.rev4}", "PTR", "NXDOMAIN", REVERSE),
    ("linker", "DATABASE", "A", "600 A {db.mynet.ip4}", FOLDED),
    ("linker", "database.mynet", "A", "600 A {db.mynet.ip4}", FOLDED),
    ("linker", "Database", "TXT", "NODATA", STAYS),
    ("intcli", "web", "A", "NXDOMAIN", MISSPELT),
    ("intcli", "web.mynet", "A", "NXDOMAIN", BELOW),
    ("intcli", "secret", "TXT", "NODATA", STAYS),
    ("intcli", "away.example", "A", "SERVFAIL", CUT_OFF),
    ("intcli", "{web.mynet.rev4}", "PTR", "NXDOMAIN", REVERSE),
    ("both", "secret.IntNet", "A", "600 A {secret.intnet.ip4}", FOLDED),
    ("both", "othercli", "A", "NXDOMAIN", MISSPELT),
    ("v6a", "v6b.mynet", "A", "NXDOMAIN", BELOW),
    ("v6a", "{v6a.v6net.REV6}", "PTR", "600 PTR v6a.v6net.", SILENT),
    ("v6a", "six", "ANY", "600 A {v6a.v6net.ip4}; 600 A {v6b.v6net.ip4}", SMALL_ANY),
    ("v6b", "web.v6net", "A", "NXDOMAIN", BELOW),
    ("dotty", "DOTTY.MY.NET", "A", "600 A {dotty.my.net.ip4}", FOLDED),
    ("dotty", "nosuch.my.net", "A", "NXDOMAIN", BELOW),
    ("dotty", "web", "A", "NXDOMAIN", MISSPELT),
)


def questions() -> Iterator[Question]:
    """Every question, first those that both answer alike."""
    for line in _SAME.strip().splitlines():
        asker, _, rest = line.partition(": ")
        for part in rest.split(";"):
            name, *rtypes = part.split()
            yield from (Question(asker, name, rtype) for rtype in rtypes)
    for asker, name, rtypes_text, pydns, because in _DIFFERENCES:
        yield from (Question(asker, name, rtype, pydns, because) for rtype in rtypes_text.split())
