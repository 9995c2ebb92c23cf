"""The registry file (docs/registry.md): what each key becomes, and file:line of everything that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.registry.model import Endpoint, Network, Port
from resolver.sources.registry_toml import read

ID = "492ba8a9277d96876f0a605d9434723aed774978a40023e778a97815216754f0"
WHOLE = f"""\
[networks.mynet]
subnets  = ["172.18.0.0/16", "fd00:18::/64"]
gateways = ["172.18.0.1", "fd00:18::1"]
internal = true
ttl      = 300
priority = 5

[networks.mynet.endpoints.db]
id        = "{ID}"
addresses = ["172.18.0.2", "fd00:18::2"]
aliases   = ["database", "*.db"]
hostname  = "db-1"
ports     = [5432, "53/udp", {{ port = 9187, protocol = "tcp", name = "metrics" }}]
links     = {{ cache = "redis", web = ["www", "site"] }}
labels    = {{ tier = "data" }}
ttl       = 60
dns       = ["10.0.0.53", "[fd00::53]:5353"]
"""


def network_of(text: str) -> Network:
    loaded = read(text, "net.toml")
    assert loaded.contribution is not None, [str(fault) for fault in loaded.faults]
    assert () == loaded.faults
    (network,) = loaded.contribution.networks
    return network


def endpoint_of(keys: str) -> Endpoint:
    (endpoint,) = network_of(f'[networks.mynet.endpoints.db]\naddresses = ["172.18.0.2"]\n{keys}\n').endpoints
    return endpoint


def faults_of(text: str) -> list[str]:
    loaded = read(text, "net.toml")
    assert loaded.contribution is None, "a file with a fault counts not at all (docs/adr/0004)"
    return [str(fault) for fault in loaded.faults]


def endpoint_faults(keys: str) -> list[str]:
    return faults_of(f'[networks.mynet]\nsubnets = ["172.18.0.0/16"]\n[networks.mynet.endpoints.db]\n{keys}\n')


def test_every_key_of_a_network() -> None:
    network = network_of(WHOLE)

    assert ["172.18.0.0/16", "fd00:18::/64"] == list(map(str, network.subnets))
    assert ["172.18.0.1", "fd00:18::1"] == list(map(str, network.gateways))
    assert ("mynet", True, 300, 5) == (network.name, network.internal, network.ttl, network.priority)
    assert "net.toml:1" == str(network.origin)


def test_every_key_of_an_endpoint() -> None:
    (db,) = network_of(WHOLE).endpoints

    assert ("db", "database", "492ba8a9277d", "db-1") == db.dns_names()
    assert (("*.db",), ["172.18.0.2", "fd00:18::2"]) == (db.wildcards(), list(map(str, db.addresses)))
    assert (Port(5432, "tcp"), Port(53, "udp"), Port(9187, "tcp", "metrics")) == db.ports
    assert (("redis", "cache"), ("www", "web"), ("site", "web")) == db.links
    assert ((("tier", "data"),), 60, ("10.0.0.53", "[fd00::53]:5353")) == (db.labels, db.ttl, db.servers)
    assert "net.toml:8" == str(db.origin)


def test_an_endpoint_needs_only_its_addresses() -> None:
    db = endpoint_of("")

    assert (("db",), (), (), None, None) == (db.dns_names(), db.ports, db.links, db.ttl, db.id)


def test_an_empty_file_is_an_empty_registry() -> None:
    loaded = read("", "net.toml")

    assert loaded.contribution is not None
    assert ((), ()) == (loaded.contribution.networks, loaded.faults)


def test_a_network_without_subnets_takes_any_address() -> None:
    assert "172.18.0.2" == str(endpoint_of("").addresses[0])


def test_a_network_that_only_its_endpoints_imply_has_their_line() -> None:
    assert "net.toml:1" == str(network_of('[networks.mynet.endpoints.db]\naddresses = ["172.18.0.2"]\n').origin)


def test_final_dots_are_taken_off() -> None:
    network = network_of(
        '[networks."mynet."]\n[networks."mynet.".endpoints."db."]\naddresses = ["172.18.0.2"]\n'
        'aliases = ["sql.", "*.app."]\nhostname = "h."\nlinks = { "web." = "www." }\n'
    )
    (db,) = network.endpoints

    assert ("mynet", "db", ("sql", "*.app"), "h", (("www", "web"),)) == (
        network.name,
        db.name,
        db.aliases,
        db.hostname,
        db.links,
    )
    assert ("net.toml:1", "net.toml:2") == (str(network.origin), str(db.origin))


def test_dotted_names_are_names() -> None:
    """Docker lets a container be called like a host of the world (moby: 'Shadowing')."""
    assert ("db", "my.app.example.org") == endpoint_of('aliases = ["my.app.example.org"]').dns_names()


ADDRESSES = 'addresses = ["172.18.0.2"]\n'


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("", "net.toml:3: networks.mynet.endpoints.db: 'addresses' is missing (add addresses = …)"),
        (
            "addresses = []",
            "net.toml:4: networks.mynet.endpoints.db.addresses: an endpoint needs at least one address"
            ' (write addresses = ["172.18.0.2"])',
        ),
        (
            'addresses = ["172.18.0.2", "172.18.0.300"]',
            "net.toml:4: networks.mynet.endpoints.db.addresses: '172.18.0.300' is not an IPv4 or IPv6 address"
            " (write it like 172.18.0.2 or fd00:18::2)",
        ),
        (
            'addresses = ["172.19.0.2"]',
            "net.toml:4: networks.mynet.endpoints.db.addresses: 172.19.0.2 is outside the subnets of network 'mynet'"
            " (172.18.0.0/16) (correct the address, or add its subnet)",
        ),
        (
            'addresses = ["fd00:18::2"]',
            "net.toml:4: networks.mynet.endpoints.db.addresses: fd00:18::2 is outside the subnets of network 'mynet'"
            " (172.18.0.0/16) (correct the address, or add its subnet)",
        ),
        (
            ADDRESSES + 'adresses = ["172.18.0.2"]',
            "net.toml:5: networks.mynet.endpoints.db.adresses: unknown key 'adresses' (did you mean 'addresses'?)",
        ),
        (
            ADDRESSES + f'aliases = ["ok", "{"a" * 64}"]',
            f"net.toml:5: networks.mynet.endpoints.db.aliases: label '{'a' * 64}' has 64 octets; 63 is the most"
            " (use letters, digits, hyphens and dots)",
        ),
        (
            ADDRESSES + 'aliases = ["a*.b"]',
            "net.toml:5: networks.mynet.endpoints.db.aliases: 'a*.b' has a * that is not its whole first label"
            " (write *.name for everything below name)",
        ),
        (
            ADDRESSES + 'hostname = "*.b"',
            "net.toml:5: networks.mynet.endpoints.db.hostname: '*.b' has a * (only an alias can be a wildcard)",
        ),
        (
            ADDRESSES + 'hostname = ""',
            "net.toml:5: networks.mynet.endpoints.db.hostname: a name may not be empty"
            " (use letters, digits, hyphens and dots)",
        ),
        (
            ADDRESSES + 'id = "ab cd"',
            "net.toml:5: networks.mynet.endpoints.db.id: 'ab cd' has a space, a backslash or a control character"
            " (use letters, digits, hyphens and dots)",
        ),
        (
            ADDRESSES + 'id = "ab.cd"',
            "net.toml:5: networks.mynet.endpoints.db.id: 'ab.cd' has a dot (its first 12 characters are one label)",
        ),
        (
            ADDRESSES + "ttl = -1",
            "net.toml:5: networks.mynet.endpoints.db.ttl: -1 cannot be used (write a whole number >= 0)",
        ),
        (
            ADDRESSES + "ttl = 2147483648",
            "net.toml:5: networks.mynet.endpoints.db.ttl: 2147483648 cannot be used"
            " (write a whole number <= 2147483647)",
        ),
        (
            ADDRESSES + 'ports = ["x"]',
            "net.toml:5: networks.mynet.endpoints.db.ports: 'x' is not a port"
            ' (write "5432/tcp" or { port = 5432, protocol = "tcp", name = "sql" })',
        ),
        (
            ADDRESSES + 'links = { cache = "a b" }',
            "net.toml:5: networks.mynet.endpoints.db.links: 'a b' has a space, a backslash or a control character"
            " (use letters, digits, hyphens and dots)",
        ),
        (
            ADDRESSES + "labels = { tier = 1 }",
            "net.toml:5: networks.mynet.endpoints.db.labels: {'tier': 1} cannot be used: it is a whole number"
            " (write text)",
        ),
        (
            ADDRESSES + 'dns = ["ns.example.org"]',
            "net.toml:5: networks.mynet.endpoints.db.dns: 'ns.example.org' is no address; a server without a scheme is"
            " an IPv4 or IPv6 address, not a name (write it like 10.0.0.53 or [fd00::53]:5353)",
        ),
        (
            ADDRESSES + 'dns = ["224.0.0.1"]',
            "net.toml:5: networks.mynet.endpoints.db.dns: '224.0.0.1' is a multicast or broadcast address; an upstream"
            " is one server (write it like 10.0.0.53 or [fd00::53]:5353)",
        ),
    ],
)
def test_what_is_refused_of_an_endpoint(keys: str, fault: str) -> None:
    assert [fault] == endpoint_faults(keys)


@pytest.mark.parametrize(
    "port",
    ['"0/tcp"', '"65536"', '"80/icmp"', '"80/TCP"', '"-1"', '"٨٠"', '"' + "9" * 5000 + '"', '"/tcp"'],
)
def test_what_is_no_port_is_refused(port: str) -> None:
    assert 1 == len(endpoint_faults(ADDRESSES + f"ports = [{port}]"))


@pytest.mark.parametrize(
    "port", ["0", "65536", "1.5", "{ protocol = 'tcp' }", "{ port = 80, prot = 'tcp' }", "{ port = 80, name = 'a.b' }"]
)
def test_what_is_no_table_of_a_port_is_refused(port: str) -> None:
    assert 1 == len(endpoint_faults(ADDRESSES + f"ports = [{port}]"))


@pytest.mark.parametrize("name", ["_http", "a.b", "a b", ""])
def test_a_port_is_named_by_one_label_without_underscore(name: str) -> None:
    """RFC 6335 5.1; the underscore is added by who asks (RFC 2782)."""
    assert 1 <= len(endpoint_faults(ADDRESSES + f"ports = [{{ port = 80, name = '{name}' }}]"))


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ('subnets = ["172.18.0.0/16", "10.0.0.1/8"]', "'10.0.0.1/8' has bits set behind its prefix (write 10.0.0.0/8)"),
        ('subnets = ["x"]', "'x' is not a subnet (write it like 172.18.0.0/16 or fd00:18::/64)"),
        ('gateways = ["x"]', "'x' is not an IPv4 or IPv6 address (write it like 172.18.0.2 or fd00:18::2)"),
        ('internal = "yes"', "'yes' cannot be used: it is text (write true or false)"),
        ("ttl = -1", "-1 cannot be used (write a whole number >= 0)"),
        ("priority = 1.5", "1.5 cannot be used: it is a number (write a whole number)"),
    ],
)
def test_what_is_refused_of_a_network(keys: str, fault: str) -> None:
    key = keys.partition(" ")[0]

    assert [f"net.toml:2: networks.mynet.{key}: {fault}"] == faults_of(f"[networks.mynet]\n{keys}\n")


def test_a_gateway_outside_the_subnets_is_refused() -> None:
    (fault,) = faults_of('[networks.mynet]\nsubnets = ["172.18.0.0/16"]\ngateways = ["172.19.0.1"]\n')

    assert fault.startswith("net.toml:3: networks.mynet.gateways: 172.19.0.1 is outside the subnets")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[networks."a b"]\n', "net.toml:1: networks.a b: "),
        ('[networks."."]\n', "net.toml:1: networks..: "),
        (
            '\n[networks.mynet.endpoints."a..b"]\naddresses = ["172.18.0.2"]\n',
            "net.toml:2: networks.mynet.endpoints.a..b: ",
        ),
        ("[network.mynet]\n", "net.toml:1: network: unknown key 'network' (did you mean 'networks'?)"),
        ("networks = 5\n", "net.toml:1: networks: "),
        ("[networks]\nmynet = 5\n", "net.toml:2: networks.mynet: 5 is not a table"),
        ("[networks.mynet]\nendpoints = 5\n", "net.toml:2: networks.mynet.endpoints: 5 cannot be used"),
        ("[networks.mynet.endpoints]\ndb = 5\n", "net.toml:2: networks.mynet.endpoints.db: 5 is not a table"),
        ("[networks.mynet\n", "net.toml:1: not TOML: "),
    ],
)
def test_what_is_refused_of_a_file(text: str, place: str) -> None:
    assert faults_of(text)[0].startswith(place)


def test_every_fault_is_told_at_once() -> None:
    faults = faults_of("""\
[networks.mynet]
subnets = ["172.18.0.1/16"]
ttl = "x"
[networks.mynet.endpoints.db]
addresses = ["x"]
aliases = ["a..b", "c d"]
[networks.other]
internl = true
[networks.other.endpoints.web]
""")

    assert ["net.toml:3", "net.toml:2", "net.toml:5", "net.toml:6", "net.toml:6", "net.toml:8", "net.toml:9"] == [
        fault.partition(": ")[0] for fault in faults
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("a.*_- \0", max_size=4),
        lambda values: (
            st.lists(values, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["networks", "mynet", "endpoints", "db", "addresses", "ports", "links", "aliases", "id"]
                ),
                values,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused(value: object) -> None:
    """Whatever tomllib makes of a file: never an exception."""
    loaded = read(f"networks.mynet.endpoints.db = {written(value)}\n[x]\nnetworks = {written(value)}\n", "net.toml")

    assert loaded.contribution is None
    assert loaded.faults


def written(value: object) -> str:
    match value:
        case None:
            return "2020-01-01"
        case bool():
            return str(value).lower()
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{key} = {written(item)}" for key, item in value.items()) + "}"
        case str():
            return '"' + value.replace("\0", "\\u0000") + '"'
    return str(value)


def test_the_registry_that_ships_is_in_order() -> None:
    path = Path(__file__).parents[3] / "zones" / "networks.toml"

    assert ["db", "web"] == [endpoint.name for endpoint in network_of(path.read_text()).endpoints]


def test_the_registry_in_the_documents_is_in_order() -> None:
    text = (Path(__file__).parents[3] / "docs" / "registry.md").read_text()

    assert ["db", "cache"] == [e.name for e in network_of(text.partition("```toml\n")[2].partition("```")[0]).endpoints]


def test_every_wrong_port_of_a_list_is_told() -> None:
    """Not only the first one, and whatever kind of value the others are."""
    faults = endpoint_faults(ADDRESSES + 'ports = [0, "80/tcp", "80-90/tcp", { port = 70000 }, "8080:80/tcp"]')

    assert 4 == len(faults)
