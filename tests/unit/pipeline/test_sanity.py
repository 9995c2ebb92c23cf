"""What is refused whatever its name (design.md 2.1); what cannot be parsed is in ../wire/test_query.py."""

from __future__ import annotations

import pytest

from tests.unit.asking import ask, opt
from tests.unit.pipeline.worlds import mynet

NAMES = ["db", "host.docker.internal", "2.0.18.172.in-addr.arpa", "example.org", "."]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rclass", [0, 2, 3, 4, 254, 255, 65535])
def test_a_class_other_than_in_is_refused(name: str, rclass: int) -> None:
    """CH, HS, ANY: Docker answers them as if they were IN."""
    told = ask(mynet(), name, rclass=rclass)

    assert ("REFUSED", "sanity") == (told.rcode, told.stage)
    assert told.message.question[0].rdclass == rclass


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rtype", ["AXFR", "IXFR"])
def test_a_zone_transfer_is_refused(name: str, rtype: str) -> None:
    told = ask(mynet(), name, rtype)

    assert ("REFUSED", "sanity", []) == (told.rcode, told.stage, told.answer)


@pytest.mark.parametrize("version", [1, 2, 255])
@pytest.mark.parametrize("name", NAMES)
def test_another_version_of_edns_is_badvers_with_ours(version: int, name: str) -> None:
    """RFC 6891 6.1.3; before anything else, since a version may change what the question means."""
    told = ask(mynet(), name, "AXFR", edns=opt(version=version, do=True))

    assert ("BADVERS", "sanity", 0) == (told.rcode, told.stage, told.message.edns)
    assert told.message.ednsflags & 0x8000


def test_refusals_say_why_to_those_who_speak_edns() -> None:
    """RFC 8914 4.22: Not Supported."""
    assert (21, "only class IN is served") == ask(mynet(), "db", rclass=3).ede
    assert (21, "zone transfer is not offered") == ask(mynet(), "db", "AXFR").ede
