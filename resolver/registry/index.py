"""Which subnets hold an address: one dictionary look-up for each prefix length in use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from resolver.registry.model import IPNetwork
from resolver.wire.name import IPAddress

T = TypeVar("T")

_BITS = {4: 32, 6: 128}


class SubnetIndex(Generic[T]):
    """Values by subnet; several may share one."""

    def __init__(self, items: Iterable[tuple[IPNetwork, T]]) -> None:
        self._tables: dict[int, dict[int, dict[int, list[tuple[IPNetwork, T]]]]] = {4: {}, 6: {}}
        for subnet, value in items:
            shift = _BITS[subnet.version] - subnet.prefixlen
            table = self._tables[subnet.version].setdefault(shift, {})
            table.setdefault(int(subnet.network_address) >> shift, []).append((subnet, value))

    def replace(self, value: T, old: Iterable[IPNetwork], new: Iterable[IPNetwork]) -> None:
        """Let the value have other subnets; who looks something up meanwhile finds the former ones or the new ones."""
        tables = {version: dict(by_shift) for version, by_shift in self._tables.items()}
        gone, come = set(old), set(new)
        for subnet in gone ^ come:
            shift = _BITS[subnet.version] - subnet.prefixlen
            table = tables[subnet.version].setdefault(shift, {})
            number = int(subnet.network_address) >> shift
            others = [item for item in table.get(number, ()) if item != (subnet, value)]
            if subnet in come:
                others.append((subnet, value))
            if others:
                table[number] = others
            else:
                table.pop(number, None)
        self._tables = tables

    def holding(self, address: IPAddress) -> list[tuple[IPNetwork, T]]:
        """(subnet, value) for every subnet that contains the address, in no particular order."""
        number = int(address)
        found: list[tuple[IPNetwork, T]] = []
        for shift, table in self._tables[address.version].items():
            found.extend(table.get(number >> shift, ()))
        return found
