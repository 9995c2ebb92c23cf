"""Imports without OpenSSL, which weighs as much as a seventh of a sidecar, until somebody wants TLS.

asyncio imports ssl for those of its calls that take a certificate, prometheus-client for servers of its own, the
standard library's HTTP hashlib for passwords, dnspython both that and hmac for signatures. While they are being
imported, stand-ins are in the place of these modules. Whoever looks into a stand-in later gets what the real module
has, which is imported then in the ordinary way; everybody else imports the real ones to begin with.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

LATER = ("ssl", "hashlib", "hmac", "asyncio.sslproto")


class _Attribute:
    """What a module has by a name, for who only notes it down: found when it is called, looked into or is a number."""

    def __init__(self, module: _StandIn, name: str) -> None:
        self._module = module
        self._name = name

    def _real(self) -> Any:
        return getattr(self._module.real(), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __index__(self) -> int:
        return operator.index(self._real())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # typing tries some
            raise AttributeError(name)
        return getattr(self._real(), name)


class _StandIn(ModuleType):
    """Has what the module of its name has."""

    def __init__(self, name: str, noted: Collection[str]) -> None:
        super().__init__(name)
        self._noted = noted
        self._importer: int | None = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        if name in self._noted and self._importer == threading.get_ident():
            return _Attribute(self, name)
        if name == "SSLSocket" and sys.modules.get(self.__name__, self) is self:
            return ()  # asyncio asks of every socket whether it is one: none is, for nobody can have made any
        return getattr(self.real(), name)

    def real(self) -> ModuleType:
        """The module itself."""
        self._step_aside()
        return import_module(self.__name__)

    def leave(self) -> None:
        """What it was there for has been imported."""
        self._importer = None
        self._step_aside()

    def _step_aside(self) -> None:
        if sys.modules.get(self.__name__) is self:
            sys.modules.pop(self.__name__, None)


@contextmanager
def without_openssl(*noted: str) -> Iterator[None]:
    """What is imported meanwhile does not import OpenSSL, unless it is there already.

    ``noted`` are names of the modules that are left out which are taken from them while this thread imports, but not
    used: in annotations and as defaults. Any other one that is taken brings its module along.
    """
    # Where Python knows no TLS asyncio has to find that out.
    stand_ins = [_StandIn(name, noted) for name in LATER if name not in sys.modules] if find_spec("_ssl") else []
    sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
    try:
        yield
    finally:
        for stand_in in stand_ins:
            stand_in.leave()
