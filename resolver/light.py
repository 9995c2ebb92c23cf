"""asyncio without the TLS that it brings along, until somebody wants TLS.

asyncio imports ssl for those of its calls that take a certificate, and with it OpenSSL: a seventh of what a sidecar
weighs. Here stand-ins are in the place of two modules for as long as asyncio is being imported, and stay inside it.
Whoever looks into one of them, asyncio at its first TLS connection, gets what the real one has, which is imported then
in the ordinary way. Everybody else imports the real ones to begin with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

LATER = ("ssl", "asyncio.sslproto")


class _StandIn(ModuleType):
    """Has what the module of its name has, which is imported when the first of that is asked for."""

    def __getattr__(self, name: str) -> object:
        if name == "SSLSocket" and self.__name__ not in sys.modules:
            return ()  # asyncio asks of every socket whether it is one: none is, for nobody can have made any
        return getattr(import_module(self.__name__), name)


def import_asyncio() -> None:
    """Import asyncio without TLS; nothing is done when it is there already, or when this Python knows no TLS."""
    if "asyncio" in sys.modules or find_spec("_ssl") is None:
        return
    stand_ins = {name: _StandIn(name) for name in LATER if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        import asyncio  # noqa: F401
    finally:
        for name in stand_ins:
            del sys.modules[name]
