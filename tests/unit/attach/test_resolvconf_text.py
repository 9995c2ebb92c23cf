"""The rewritten resolv.conf and the way back, which loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resolver.attach.resolvconf_text import Saved, created, edited, rewritten, saved_in, without_record
from resolver.forward.resolvconf import parse

ADDRESS = "127.0.0.11"

ORIGINAL = """\
# by hand
nameserver 10.0.0.1
nameserver 127.0.0.11
nameserver fe80::1%eth0
nameserver nonsense
search a.example b.example
options trust-ad timeout:2
sortlist 10.0.0.0/8
"""

REWRITTEN = """\
# Written by pydns: names are answered at 127.0.0.11 in this network namespace.
nameserver 127.0.0.11
search a.example b.example
options trust-ad timeout:2 ndots:0
sortlist 10.0.0.0/8
# Former nameservers: 10.0.0.1 fe80::1%eth0
# pydns-former-file: these lines, put back when pydns stops
#|# by hand
#|nameserver 10.0.0.1
#|nameserver 127.0.0.11
#|nameserver fe80::1%eth0
#|nameserver nonsense
#|search a.example b.example
#|options trust-ad timeout:2
#|sortlist 10.0.0.0/8
#|
# pydns-former-file: end
"""


def original_of(text: str) -> str | None:
    """The text before ``rewritten``."""
    saved = saved_in(text)
    return None if saved is None else saved.text


def test_the_rewritten_text() -> None:
    assert rewritten(ORIGINAL, ADDRESS) == REWRITTEN


@given(st.text())
@example("")
@example("\n")
@example("nameserver 10.0.0.1")
@example("nameserver 10.0.0.1\r\nsearch x\r\n")
@example("# pydns-former-file: end\n#|\n")
@example(" # pydns-former-file: these lines, put back when pydns stops\n")
@example("\x0b# pydns-former-file: end\x85#|\u2028search #|\n")
def test_any_text_comes_back(text: str) -> None:
    assume(saved_in(text) is None)

    assert original_of(rewritten(text, ADDRESS)) == text


@given(st.binary())
@example(b"search caf\xe9\n\x00\xff")
def test_any_bytes_come_back(content: bytes) -> None:
    text = rewritten(content.decode("utf-8", "surrogateescape"), ADDRESS)
    former = original_of(text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))

    assert former is not None
    assert former.encode("utf-8", "surrogateescape") == content


@given(st.text())
def test_only_our_address_is_asked(text: str) -> None:
    conf = parse(rewritten(text, ADDRESS))

    assert conf.nameservers == (ADDRESS,)
    assert conf.ndots is not None


@given(st.text())
@example(ORIGINAL)
def test_rewriting_twice_is_rewriting_once(text: str) -> None:
    once = rewritten(text, ADDRESS)

    assert rewritten(once, ADDRESS) == once


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "ndots:0"),
        ("ndots:5", "ndots:5"),
        ("ndots:-1 edns0", "edns0 ndots:0"),
        ("ndots:x", "ndots:0"),
        ("ndots", "ndots:0"),
        ("ndots:2 ndots:foo", "ndots:0"),
        ("rotate ndots:0", "rotate ndots:0"),
    ],
)
def test_ndots_is_zero_unless_it_is_set(options: str, expected: str) -> None:
    assert f"\noptions {expected}\n" in rewritten(f"options {options}\n", ADDRESS)


def test_a_file_without_servers_says_so() -> None:
    assert "\n# Former nameservers: none\n" in rewritten("", ADDRESS)


def test_a_file_that_was_not_there() -> None:
    text = created(ORIGINAL, ADDRESS, 2)

    assert saved_in(text) == Saved(None, 2)
    assert original_of(text) is None
    assert rewritten(text, ADDRESS) == text
    assert parse(text).search == ("a.example", "b.example")
    assert "10.0.0.1" not in text


@pytest.mark.parametrize(
    "damaged",
    [
        REWRITTEN.replace("#|nameserver 10.0.0.1\n", "nameserver 10.0.0.1\n"),
        REWRITTEN.replace("# pydns-former-file: end\n", ""),
        REWRITTEN.replace("\n", "\r\n"),
    ],
)
def test_a_damaged_record_is_a_text_like_any_other(damaged: str) -> None:
    assert saved_in(damaged) is None
    assert original_of(rewritten(damaged, ADDRESS)) == damaged


def test_without_our_record_the_rest_stays() -> None:
    text = without_record(REWRITTEN.replace(f"nameserver {ADDRESS}", "nameserver 192.0.2.1"))

    assert text == (
        "nameserver 192.0.2.1\nsearch a.example b.example\noptions trust-ad timeout:2 ndots:0\nsortlist 10.0.0.0/8\n"
    )


def test_an_edit_made_meanwhile_stays_and_our_address_goes() -> None:
    """Whoever adds a line while pydns runs keeps it, and is not left with a nameserver that is gone."""
    current = rewritten("nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example\n", ADDRESS) + "# mine\n"

    back = edited(current, "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example\n", ADDRESS)

    assert back is not None
    assert ("10.0.0.1", "10.0.0.2") == parse(back).nameservers
    assert ("a.example",) == parse(back).search
    assert back.endswith("# mine\n")
    assert saved_in(back) is None


def test_a_file_that_no_longer_names_our_address_is_theirs() -> None:
    """Nothing is put into a file that somebody pointed elsewhere."""
    assert edited("nameserver 10.9.9.9\n", "nameserver 10.0.0.1\n", ADDRESS) is None


def test_a_file_that_was_written_whole_is_theirs() -> None:
    """Docker names its own resolver at the same address when it connects a container of the default bridge."""
    assert edited("nameserver 127.0.0.11\noptions ndots:0\n", "nameserver 10.0.0.1\n", ADDRESS) is None
