"""`Zone.find` against a model that follows the words of RFC 4592, on small zones out of few labels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resolver.wire.name import fold, from_text
from tests.unit.zones.helpers import HEAD, ask, rcode, read

Name = tuple[str, ...]
"""Labels from left to right, without the apex."""

LABELS = st.sampled_from(["a", "b", "*"])
NAMES = st.lists(LABELS, min_size=0, max_size=4).map(tuple)
TYPES = {"A": "192.0.2.1", "TXT": "x"}


@given(
    records=st.sets(st.tuples(NAMES, st.sampled_from(sorted(TYPES))), max_size=8),
    asked=st.lists(st.sampled_from(["a", "B", "c", "*"]), max_size=5).map(tuple),
    qtype=st.sampled_from(["A", "TXT", "MX"]),
)
def test_the_closest_encloser_decides(records: set[tuple[Name, str]], asked: Name, qtype: str) -> None:
    """RFC 4592 3.3.1: exact, wildcard, NODATA or NXDOMAIN."""
    body = "".join(f"{text(name)} {rtype} {TYPES[rtype]}\n" for name, rtype in sorted(records))
    zone = read({"example.test.zone": HEAD + body}).zone
    assert zone is not None

    found = ask(zone, text(asked), qtype)

    assert expected(records, asked, qtype) == (rcode(found), len(found.answer))
    assert all(rrset.owner == from_text(text(asked)) for rrset in found.answer)
    assert bool(found.answer) != bool(found.authority)


@given(names=st.sets(NAMES, min_size=1, max_size=8))
def test_every_ancestor_of_an_owner_has_a_node(names: set[Name]) -> None:
    """RFC 4592 2.2.2."""
    zone = read({"example.test.zone": HEAD + "".join(f"{text(name)} A 192.0.2.1\n" for name in names)}).zone

    assert zone is not None
    assert {fold(from_text(text(name[start:]))) for name in names for start in range(len(name) + 1)} | {
        fold(from_text("ns1.example.test."))
    } == set(zone.nodes)


def expected(records: set[tuple[Name, str]], asked: Name, qtype: str) -> tuple[str, int]:
    """The same, by comparing the name with every owner."""
    asked = tuple(label.lower() for label in asked)
    owners = {name for name, _ in records} | {(), ("ns1",)}
    existing = {owner[start:] for owner in owners for start in range(len(owner) + 1)}
    source = asked
    if asked not in existing:
        encloser = next(asked[start:] for start in range(len(asked) + 1) if asked[start:] in existing)
        source = ("*", *encloser)
        if source not in existing:
            return "NXDOMAIN", 0
    return "NOERROR", int((source, qtype) in records)


def text(name: Name) -> str:
    return ".".join((*name, "example", "test", ""))
