"""The endpoints of one network in their order, so that one container's news does not mean to go through all of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from resolver.registry.model import Endpoint

_Key = tuple[str, str]


def order(endpoint: Endpoint) -> _Key:
    """Where an endpoint of a container stands among the others."""
    return endpoint.name.lower(), endpoint.id or ""


class Roster:
    """Endpoints of containers, each with a name of its own and none with links to others."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        """``endpoints`` are in `order`."""
        self._endpoints = list(endpoints)
        self._keys = list(map(order, endpoints))
        self._key_of = {key[1]: key for key in self._keys}
        names = {name for name, _ in self._keys}
        self.is_simple = len(names) == len(self._keys) and not any(endpoint.links for endpoint in endpoints)
        """False when it depends on others what an endpoint is: then there is more to do than `put`."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All of them in `order`."""
        return tuple(self._endpoints)

    def put(self, container_id: str, endpoint: Endpoint | None) -> bool:
        """This is the container's endpoint now, None for none; True when that makes a difference."""
        former = self._key_of.pop(container_id, None)
        if former is not None:
            place = bisect_left(self._keys, former)
            if self._endpoints[place] is endpoint:
                self._key_of[container_id] = former
                return False
            del self._keys[place], self._endpoints[place]
        if endpoint is None:
            return former is not None
        key = order(endpoint)
        place = bisect_left(self._keys, key)
        near = self._keys[max(place - 1, 0) : place + 1]
        if endpoint.links or any(name == key[0] for name, _ in near):
            self.is_simple = False
        self._keys.insert(place, key)
        self._endpoints.insert(place, endpoint)
        self._key_of[container_id] = key
        return True
