"""What dnspython says of a statement it cannot read → a sentence for a person, and what to write instead."""

from __future__ import annotations

import re

_MARKS = re.compile(r'\\.|[";()]')
_PLACE = re.compile(r"^statement:\d+: ")
_CAUGHT = re.compile(r"^caught exception <class '[\w.]+'>: ")

_RECORD_FORM = "a record is: name [ttl] [IN] type data"
_GENERATE_FORM = "write: $GENERATE 1-20 host-$ A 192.0.2.$ with a right side of several words in quotation marks"
_FORMS = {
    "A": "web A 192.0.2.1",
    "AAAA": "web AAAA 2001:db8::1",
    "CAA": '@ CAA 0 issue "ca.example.org"',
    "CNAME": "www CNAME web",
    "DNAME": "old DNAME new",
    "HTTPS": "@ HTTPS 1 . alpn=h2",
    "MX": "@ MX 10 mail",
    "NS": "@ NS ns1",
    "PTR": "1 PTR web.example.org.",
    "SOA": "@ SOA ns1 hostmaster 1 3600 600 86400 60",
    "SRV": "_http._tcp SRV 0 0 80 web",
    "TXT": '@ TXT "some text"',
}
# dnspython's words, ours, and the fix where it is not the form of the record.
_SAYINGS = (
    (r"unknown rdatatype '(\d+)'", r"\1 is neither a type nor a TTL (0 to 2147483647)", ""),
    (r"unknown rdatatype '(.*)'", r"there is no record type \1", ""),
    (r"RR class is not zone's class", "its class is not IN", "leave the class out"),
    (r"Missing default TTL value", "it has no TTL", "put $TTL 3600 at the top, or a TTL between name and type"),
    (r"zone file directive '(.*)' is not allowed", r"there is no \1", "there are $ORIGIN, $TTL, $INCLUDE, $GENERATE"),
    (r"unbalanced parentheses", "its parenthesis is never closed", "close it after the last field"),
    (r"A DNS label is empty", "a name has an empty label", "look for two dots in a row, or one in front"),
    (r"A DNS label is > 63 octets long", "a label has more than 63 octets", "shorten the name between its dots"),
    (r"A DNS name is > 255 octets long", "a name has more than 255 octets", "shorten the name"),
    (r"(?:DNS TTL value is not well-formed|bad \$TTL).*", "that is no TTL", "write seconds, or 1h, 1d, 1w: $TTL 3600"),
    (r'expected EOL or EOF, got \d+ "(.*)"', r'"\1" is too much', ""),
    (r"expecting an? (?:integer|unsigned).*", "a number is missing or is none", ""),
    (r"(?:expecting an?(?:other)? (?:identifier|string)|unexpected end of input)", "something is missing", ""),
    (r"(?:Text input is malformed|Text input ended unexpectedly|)", "it is incomplete or malformed", ""),
)


def explain(complaint: str, statement: str) -> tuple[str, str]:
    """Message and fix for what dnspython's reader raised about a statement."""
    complaint = _CAUGHT.sub("", _PLACE.sub("", complaint)).strip().rstrip(".")
    fix = ""
    if (unclosed := _unclosed(statement)) is not None:
        complaint, fix = unclosed
    else:
        for pattern, words, advice in _SAYINGS:
            if match := re.fullmatch(pattern, complaint):
                complaint, fix = match.expand(words), advice
                break
    return f'cannot read "{shorten(statement)}": {complaint}', fix or _form(statement)


def shorten(statement: str) -> str:
    """The statement on one line, in at most 60 characters."""
    text = " ".join(statement.split())
    return text if len(text) <= 60 else text[:59] + "…"


def _form(statement: str) -> str:
    directive, *words = statement.upper().split()[:5] or [""]
    if directive == "$GENERATE":
        return _GENERATE_FORM
    if directive == "$ORIGIN":
        return "write: $ORIGIN example.org."
    form = next((_FORMS[word] for word in words if word in _FORMS), "")
    return f"write it as in: {form}" if form else _RECORD_FORM


def _unclosed(statement: str) -> tuple[str, str] | None:
    """Quotation marks or parentheses that do not pair, which dnspython calls malformed without a word."""
    for line in statement.split("\n"):
        is_quoted = False
        for mark in _MARKS.findall(line):
            if mark == '"':
                is_quoted = not is_quoted
            elif mark == ";" and not is_quoted:
                break
        if is_quoted:
            return "a quotation mark is not closed", "close it on the same line"
    return None
