"""Statements of a master file → records; the one module here that imports dnspython (30 ms, 4 MB), so import it late.

dnspython's reader keeps the origin, the last owner and the TTLs from statement to statement. It is fed one statement at
a time, so that a wrong one does not hide the others, and it never sees an ``$INCLUDE``: it would open the file itself,
relative to the working directory.
"""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.zonefile

from resolver.light import without_openssl
from resolver.wire.name import WireName
from resolver.zones.build import Record
from resolver.zones.model import Place
from resolver.zones.wording import explain, shorten

# A TXT record brings what signs messages, for which a zone file has no use.
with without_openssl("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
    import dns.rdtypes.txtbase

MAX_TTL = 2**31 - 1  # RFC 2181 8
MAX_GENERATED = 65_536
"""How many records one $GENERATE may make; a range of four billion would never end."""

# From corners of dnspython's parsers, for which a file may hold anything.
_ALSO_RAISED = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, struct.error)
_DIRECTIVES = ("$ORIGIN", "$TTL", "$GENERATE")


class MalformedError(Exception):
    """A statement that cannot be read; becomes a Fault, with its place, in `resolver.zones.zonefile`."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class State(NamedTuple):
    """What one statement hands to the next (RFC 1035 5.1)."""

    origin: dns.name.Name | None
    last_name: dns.name.Name | None
    default_ttl: tuple[int, bool, bool]
    last_ttl: tuple[int, bool]


class Include(NamedTuple):
    """The arguments of an $INCLUDE."""

    file: str
    origin: str | None


class StatementReader:
    """Reads statements in their order; relative names are below ``origin`` until an $ORIGIN comes."""

    def __init__(self, origin: WireName | None) -> None:
        self._taken = _Taken()
        self._reader = dns.zonefile.Reader(_tokens(""), dns.rdataclass.IN, self._taken, allow_directives=_DIRECTIVES)
        name = None if origin is None else dns.name.from_wire(origin, 0)[0]
        self._reader.current_origin = self._reader.last_name = name

    def read(self, statement: str, place: Place) -> list[Record]:
        """The records of one statement; raises MalformedError."""
        records: list[Record] = []
        self._taken.records = records
        self._taken.place = place
        self._reader.tok = _tokens(statement, words_only=statement[:9].upper() == "$GENERATE")
        try:
            self._reader.read()
        except MalformedError:
            raise
        except (dns.exception.DNSException, *_ALSO_RAISED) as exc:
            raise _in_plain_words(exc, statement) from exc
        return records

    def include(self, statement: str) -> Include:
        """The file and the origin that an $INCLUDE statement names; raises MalformedError."""
        try:
            words = [token.unescape().value for token in _tokens(statement)][1:]
        except dns.exception.DNSException as exc:
            raise _in_plain_words(exc, statement) from exc
        words = [word for word in words if word != "\n"]
        if not 1 <= len(words) <= 2 or not words[0] or "\0" in words[0]:
            raise MalformedError(f'"{shorten(statement)}" names no file', "write $INCLUDE file [origin]")
        return Include(words[0], words[1] if len(words) == 2 else None)

    def save(self) -> State:
        """The state before an included file."""
        reader = self._reader
        return State(
            reader.current_origin,
            reader.last_name,
            (reader.default_ttl, reader.default_ttl_known, reader.default_ttl_from_soa),
            (reader.last_ttl, reader.last_ttl_known),
        )

    def restore(self, state: State) -> None:
        """Go on after an included file as if it had not been there (RFC 1035 5.1)."""
        reader = self._reader
        reader.current_origin, reader.last_name = state.origin, state.last_name
        reader.default_ttl, reader.default_ttl_known, reader.default_ttl_from_soa = state.default_ttl
        reader.last_ttl, reader.last_ttl_known = state.last_ttl

    def set_origin(self, text: str) -> None:
        """Make ``text``, relative to the present origin, the origin; raises MalformedError."""
        try:
            origin = dns.name.from_text(text, self._reader.current_origin)
        except (dns.exception.DNSException, *_ALSO_RAISED) as exc:
            raise _in_plain_words(exc, text) from exc
        if not origin.is_absolute():
            raise MalformedError(*_NO_ORIGIN)
        self._reader.current_origin = origin


class _Taken(dns.zonefile.RRsetsReaderTransaction):
    """Where dnspython's reader puts records: kept with their place, in wire form, unchecked."""

    def __init__(self) -> None:
        super().__init__(dns.zonefile.RRSetsReaderManager(), True, False)  # type: ignore[no-untyped-call]
        self.records: list[Record] = []
        self.place = Place("", 0)

    def add(self, *args: Any) -> None:
        """Take one record."""
        name, ttl, rdata = args
        if ttl > MAX_TTL:
            raise MalformedError(f"a TTL of {ttl} s is over {MAX_TTL}", "write fewer seconds, or 1h, 1d, 1w")
        if dns.rdatatype.is_metatype(rdata.rdtype):
            kind = dns.rdatatype.to_text(rdata.rdtype)
            raise MalformedError(f"{kind} is asked for and never stored", "take the record out")
        if len(self.records) == MAX_GENERATED:
            raise MalformedError(f"$GENERATE makes more than {MAX_GENERATED} records", "use a smaller range")
        self.records.append(Record(WireName(name.to_wire()), int(rdata.rdtype), ttl, rdata.to_wire(), self.place))


class _WordTokenizer(dns.tokenizer.Tokenizer):
    """For $GENERATE, whose right side may be several words in quotes (as in BIND); dnspython wants one bare word."""

    def get(self, want_leading: bool = False, want_comment: bool = False) -> dns.tokenizer.Token:
        token = super().get(want_leading, want_comment)
        if token.is_quoted_string():
            return dns.tokenizer.Token(dns.tokenizer.IDENTIFIER, token.value, token.has_escape)
        return token


def _tokens(statement: str, words_only: bool = False) -> dns.tokenizer.Tokenizer:
    kind = _WordTokenizer if words_only else dns.tokenizer.Tokenizer
    return kind(io.StringIO(statement), "statement")


_NO_ORIGIN = (
    "a name without a final dot, and nothing says what it is relative to",
    "begin the file with $ORIGIN and the zone's name, or call it <zone>.zone",
)


def _in_plain_words(exc: Exception, statement: str) -> MalformedError:
    if isinstance(exc, dns.zonefile.UnknownOrigin):
        return MalformedError(*_NO_ORIGIN)
    return MalformedError(*explain(str(exc), statement))
