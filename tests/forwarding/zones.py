"""The zones that the real servers of these tests have: one as it is, and four that are signed, one way or another."""

from __future__ import annotations

import base64
import random
import subprocess
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.rdataset
import dns.rdatatype

from tests.netns.world import BIG_TXT
from tests.scenarios.live import At

PLAIN, NSEC, NSEC3, BROKEN = "lab.test", "nsec.test", "nsec3.test", "broken.test"

_HEAD = """\
$TTL 300
@       SOA ns hostmaster 1 3600 600 86400 60
@       NS ns
ns      A 127.0.0.1
www     A 192.0.2.80
www     AAAA 2001:db8::80
"""
PLAIN_TEXT = (
    _HEAD
    + r"""
chain   CNAME chain2
chain2  CNAME chain3
chain3  CNAME www
loose   CNAME nothere
_ldap._tcp SRV 0 5 389 www
_ldap._tcp SRV 1 5 636 www
odd     TYPE65280 \# 5 0001ff0a00
zero    0 A 192.0.2.82
a\.b    A 192.0.2.83
\000\255\032\"\;\\ TXT "\000\255\"\\;"
MiXed   A 192.0.2.84
mail    MX 10 www
authority A 192.0.2.87
svc     TYPE65 \# 13 00010000010006026832026833
"""
    + "\n".join(f'big TXT "{text}"' for text in BIG_TXT)
    + "\n"
)
INSIDE, INSIDE_TEXT = f"plain.{NSEC}", _HEAD
"""A zone below a signed one, without a signature and without DS: it is proved that it has none."""
SIGNED_TEXT = (
    _HEAD
    + """
alias   CNAME www
*.wild  A 192.0.2.85
mail    MX 10 www
child   NS ns.child
plain   NS ns.plain
ns.plain A 127.0.0.1
child   DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.child A 127.0.0.1
changed A 192.0.2.86
"""
)


def big_keys(count: int) -> str:
    """Public keys of 4096 bits, as a zone file has them; nothing is signed with them."""
    chance = random.Random(count)
    keys = [b"\x03\x01\x00\x01\xc0" + chance.randbytes(510) + b"\x01" for _ in range(count)]
    return "".join(f"@ DNSKEY 256 3 8 {base64.b64encode(key).decode()}\n" for key in keys)


def sign(folder: Path, origin: str, text: str) -> Path:
    """A zone file signed by bind's tools; the address of ``changed`` is another one afterwards, so it is bogus."""
    source, signed = folder / f"{origin}.zone", folder / f"{origin}.signed"
    key = _run(folder, "dnssec-keygen", "-q", "-K", str(folder), "-a", "ECDSAP256SHA256", "-f", "KSK", origin).strip()
    source.write_text(text + (folder / f"{key}.key").read_text())
    _run(folder, "dnssec-signzone", "-z", "-P", "-q", "-K", str(folder), "-o", origin, "-f", str(signed), str(source))
    signed.write_text(signed.read_text().replace("192.0.2.86", "192.0.2.186"))
    return signed


def keys_of(origin: str, at: At) -> dns.rdataset.Rdataset:
    """The DNSKEY records of a zone, from its authority."""
    query = dns.message.make_query(origin, dns.rdatatype.DNSKEY)
    reply = dns.query.tcp(query, at.host, 10, at.port)
    return reply.find_rrset(reply.answer, dns.name.from_text(origin), query.question[0].rdclass, dns.rdatatype.DNSKEY)


def anchors_for_unbound(authorities: dict[str, At]) -> str:
    """Their keys that are entry points as trust anchors, in a zone file's form."""
    return "".join(
        f"{origin}. DNSKEY {key.to_text()}\n"
        for origin, at in authorities.items()
        for key in keys_of(origin, at)
        if key.flags & 1
    )


def anchors_for_delv(authorities: dict[str, At]) -> str:
    """The same as named.conf(5) has it."""
    lines = [
        f'{origin}. static-key {key.flags} {key.protocol} {int(key.algorithm)} "{base64.b64encode(key.key).decode()}";'
        for origin, at in authorities.items()
        for key in keys_of(origin, at)
        if key.flags & 1
    ]
    return "trust-anchors {\n" + "\n".join(lines) + "\n};\n"


def _run(folder: Path, *argv: str) -> str:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
