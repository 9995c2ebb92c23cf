"""Where a client without a network of its own reaches the host (design.md 2.2): the default gateway, else docker0."""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import IPv4Address

from resolver.attach.netns import IPAddress, default_gateways

DOCKER_BRIDGE = "docker0"

_SIOCGIFADDR = 0x8915
_IFREQ = struct.Struct("16s24x")


def host_gateways() -> tuple[IPAddress, ...]:
    """The default gateways of our own namespace; without any, docker0's address; without that, nothing."""
    return default_gateways() or bridge_gateways()


def bridge_gateways() -> tuple[IPAddress, ...]:
    """docker0's address in our own namespace, if it is there: where a container without a default route finds us."""
    address = interface_address(DOCKER_BRIDGE)
    return () if address is None else (address,)


def interface_address(interface: str) -> IPv4Address | None:
    """The IPv4 address of an interface; None when it does not exist or has none (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFADDR, _IFREQ.pack(interface.encode()))
        except OSError:
            return None
    return IPv4Address(answer[20:24])
