"""Which subnets hold an address."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.index import SubnetIndex
from resolver.registry.model import IPNetwork
from resolver.wire.name import IPAddress


def test_an_address_of_one_family_is_in_no_subnet_of_the_other() -> None:
    index = SubnetIndex([(ipaddress.ip_network("0.0.0.0/0"), "all")])

    assert [] == index.holding(ipaddress.ip_address("::1"))


@given(
    st.lists(
        st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
            lambda pair: ipaddress.ip_network((pair[0], min(pair[1], pair[0].max_prefixlen)), strict=False)
        ),
        max_size=8,
    ),
    st.data(),
)
def test_it_finds_what_a_search_through_all_finds(subnets: list[IPNetwork], data: st.DataObject) -> None:
    near = [subnet.network_address for subnet in subnets] + [subnet.broadcast_address for subnet in subnets]
    address: IPAddress = data.draw(st.sampled_from(near) | st.ip_addresses() if near else st.ip_addresses())
    index = SubnetIndex((subnet, number) for number, subnet in enumerate(subnets))
    expected = {number for number, subnet in enumerate(subnets) if address in subnet}

    assert expected == {number for _, number in index.holding(address)}
