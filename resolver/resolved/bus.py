"""systemd-resolved over D-Bus: everything that it has been told, and when it may have been told something else.

The interface is org.freedesktop.resolve1(5), readable by every user. It tells of changed servers by a signal, but of
no changed domain, default route or link: who has heard of those elsewhere says `Bus.look` (docs/adr/0017). A resolved
that does not run is never started by a question.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any

from jeepney import (
    DBusAddress,
    DBusErrorResponse,
    HeaderFields,
    MatchRule,
    Message,
    MessageFlag,
    MessageType,
    Properties,
    message_bus,
)
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus import get_bus
from jeepney.io.asyncio import DBusConnection
from jeepney.wrappers import unwrap_msg

from resolver.resolved.routing import GLOBAL, Domain, Facts, Link, Server

ANSWER_S = 2.0
"""How long one reading may take."""
NAME = "org.freedesktop.resolve1"
_PATH = "/org/freedesktop/resolve1"
_MANAGER = DBusAddress(_PATH, NAME, f"{NAME}.Manager")
_SCOPE_DNS = 1
_GONE = ("UnknownObject", "UnknownInterface", "UnknownMethod", "NoSuchLink")
_WORDS = {
    "ServiceUnknown": "it does not run",
    "NameHasNoOwner": "it does not run",
    "AccessDenied": "access is denied",
    "NoReply": "it does not run",  # the bus says so of who ends in the middle of a question
}


class NoAnswer(Exception):
    """resolved cannot be asked; the message says why."""


class NoAnswerYet(NoAnswer):
    """The same, but the bus is there: it will tell when resolved comes."""


class Bus:
    """A connection to the system bus, for the questions of one task."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._has_news = False
        self._waiting: asyncio.Timeout | None = None

    @classmethod
    async def open(cls) -> Bus:
        """Connect and listen for what resolved says. Raises NoAnswer."""
        try:
            path = get_bus("SYSTEM")
        except (RuntimeError, ValueError) as error:
            raise NoAnswer("the system bus cannot be reached: DBUS_SYSTEM_BUS_ADDRESS names no Unix socket") from error
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(path)
        except (TimeoutError, OSError) as error:
            raise NoAnswer(f"the system bus cannot be reached: {_words(error)}") from error
        bus = cls(DBusConnection(reader, writer))
        try:
            async with asyncio.timeout(ANSWER_S):
                await _authenticate(reader, writer)
                await bus._call(message_bus.Hello())
                for rule in (
                    MatchRule(type="signal", sender=NAME, path=_PATH, member="PropertiesChanged"),
                    _owner_rule(),
                ):
                    await bus._call(message_bus.AddMatch(rule))
        except Exception as error:  # jeepney checks little of what it parses
            bus.close()
            raise NoAnswer(f"the system bus cannot be used: {_words(error)}") from error
        except BaseException:
            bus.close()
            raise
        return bus

    def close(self) -> None:
        """Let go; idempotent."""
        self._connection.writer.close()

    async def read(self) -> Facts:
        """Everything as it is now. Raises NoAnswer."""
        self._has_news = False
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._read()
        except KeyError as error:  # before systemd 246
            raise NoAnswerYet(f"it is too old, and has no property {error}") from error
        except (DBusErrorResponse, TimeoutError) as error:
            raise NoAnswerYet(_words(error)) from error
        except (EOFError, OSError) as error:
            raise NoAnswer(f"the system bus is gone: {_words(error)}") from error
        except Exception as error:
            raise NoAnswer(_words(error)) from error

    async def news(self, within_s: float) -> bool:
        """Return when resolved has said that it changed, came or went, or somebody has said so for it: True.

        False after ``within_s``. Raises NoAnswer when the bus is gone.
        """
        try:
            async with asyncio.timeout(within_s) as self._waiting:
                while not self._has_news:
                    self._heed(await self._connection.receive())
        except TimeoutError:
            pass
        except Exception as error:
            raise NoAnswer(f"the system bus is gone: {_words(error)}") from error
        finally:
            self._waiting = None
        return self._has_news

    def look(self) -> None:
        """Resolved may have something new to say: have `news` return at once; on the loop."""
        self._has_news = True
        if self._waiting is not None:
            self._waiting.reschedule(0)
            self._waiting = None

    async def _read(self) -> Facts:
        manager = await self._properties(_MANAGER)
        servers = tuple(Server(index, bytes(address), port, name) for index, _, address, port, name in manager["DNSEx"])
        links = {}
        for index in dict.fromkeys(server.ifindex for server in servers):
            if index != GLOBAL and (link := await self._link(index)) is not None:
                links[index] = link
        domains = tuple(Domain(index, name) for index, name, _ in manager["Domains"])
        return Facts(servers, domains, links, manager["DNSOverTLS"])

    async def _link(self, index: int) -> Link | None:
        # sd_bus_path_encode(3): a digit at the start is escaped.
        address = DBusAddress(f"{_PATH}/link/_3{index}", NAME, f"{NAME}.Link")
        try:
            told = await self._properties(address)
        except DBusErrorResponse as error:
            if _kind(error) in _GONE:
                return None
            raise
        return Link(_interface(index), bool(told["ScopesMask"] & _SCOPE_DNS), told["DefaultRoute"], told["DNSOverTLS"])

    async def _properties(self, address: DBusAddress) -> Mapping[str, Any]:
        (told,) = await self._call(Properties(address).get_all())
        return {name: value for name, (_, value) in told.items()}

    async def _call(self, message: Message) -> tuple[Any, ...]:
        """Ask, and heed what is said meanwhile."""
        message.header.flags |= MessageFlag.no_auto_start
        serial = next(self._connection.outgoing_serial)
        await self._connection.send(message, serial=serial)
        while True:
            received = await self._connection.receive()
            if received.header.fields.get(HeaderFields.reply_serial) == serial:
                body: tuple[Any, ...] = unwrap_msg(received)
                return body
            self._heed(received)

    def _heed(self, message: Message) -> None:
        if message.header.message_type is MessageType.signal:
            self._has_news |= message.header.fields.get(HeaderFields.member) in _NEWS


_NEWS = ("PropertiesChanged", "NameOwnerChanged")


async def _authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    authenticator = Authenticator()
    for request in authenticator:
        writer.write(request)
        if not (reply := await reader.read(1024)):
            raise EOFError
        authenticator.feed(reply)
    writer.write(BEGIN)


def _owner_rule() -> MatchRule:
    rule = MatchRule(type="signal", sender="org.freedesktop.DBus", member="NameOwnerChanged")
    rule.add_arg_condition(0, NAME)
    return rule


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # gone meanwhile, or resolved is in another namespace than we are
        return ""


def _kind(error: DBusErrorResponse) -> str:
    return str(error.name).rpartition(".")[2]


def _words(error: Exception) -> str:
    if isinstance(error, DBusErrorResponse):
        said = error.data[0] if error.data and isinstance(error.data[0], str) else error.name
        return _WORDS.get(_kind(error), str(said))
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_S:g} s"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, (EOFError, ConnectionError)):
        return "it has closed the connection"
    return f"what it says makes no sense ({type(error).__name__}: {error})"
