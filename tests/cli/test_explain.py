"""`pydns explain`: who answers, why, from where; of the files and of a running server alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import SHIPPED, TWO, complaint, pydns
from tests.scenarios.live import Live

Explain = Callable[..., dict[str, str]]
FILES = ("--registry", "two.toml", "--zones", str(SHIPPED), "--resolv-conf", "resolv.conf")


def lines_of(text: str) -> dict[str, str]:
    """What stands behind each word on the left; lines of one kind are joined."""
    told: dict[str, str] = {}
    word = ""
    for line in text.splitlines():
        word = line[:12].strip() or word
        told[word] = f"{told[word]}\n{line[12:]}" if word in told else line[12:]
    return told


@pytest.fixture
def explain(folder: Path) -> Explain:
    """Explain from the files of the folder."""

    def run(*arguments: str) -> dict[str, str]:
        done = pydns("explain", *FILES, *arguments, cwd=folder)
        assert (0, "") == (done.returncode, done.stderr)
        return lines_of(done.stdout)

    return run


def test_a_container(explain: Explain) -> None:
    assert explain("Web", "--from", "10.1.0.3") == {
        "question": "Web. A",
        "view": "networks front (10.1.0.3 is in their subnets, the address of cache)",
        "stage": "registry",
        "answer": "NOERROR\nWeb. 600 IN A 10.1.0.2",
        "because": "the name of container web on network front",
        "written in": "two.toml:5",
        "told by": "the files (named on the command line)",
    }


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("www", "an alias of container web on network front"),
        ("www.front", "an alias of container web on network front"),
        ("w", "the hostname of container web on network front"),
        ("abcdefabcdef", "the short id of container web on network front"),
        ("a.b.web", "below the wildcard *.web of container web on network front"),
    ],
)
def test_what_a_name_is(explain: Explain, name: str, because: str) -> None:
    assert explain(name)["because"] == because


def test_a_link_is_told_to_its_owner_only(explain: Explain) -> None:
    own = explain("redis", "--endpoint", "web")
    assert own["view"] == "networks front (the container web is on these)"
    assert own["because"] == "a link alias of the asker for cache on network front"
    assert explain("redis", "--endpoint", "cache")["answer"].startswith("NXDOMAIN")


@pytest.mark.parametrize(
    ("arguments", "stage", "because"),
    [
        (
            ["nosuch"],
            "forward",
            "nobody in this view has this name, and a single label is not forwarded (answers.single_label)",
        ),
        (
            ["nosuch.front"],
            "forward",
            "nobody here has this name, and it ends in the name of network 'front': such names are never forwarded",
        ),
        (["front"], "forward", "this is the name of network 'front': such names are never forwarded"),
        (
            ["web", "MX"],
            "registry",
            "the name is known and has no record of this type; a known name is never forwarded",
        ),
        (
            ["_99._tcp.web", "SRV"],
            "registry",
            "the name behind the service is known and has no such port; a known name is never forwarded",
        ),
        (["10.1.0.99"], "reverse", "10.1.0.0/24 is a subnet of network 'front': no reverse name in it is forwarded"),
        (
            ["nosuch.docker.internal"],
            "internal",
            "internal.names has no such name; nothing in this zone is forwarded",
        ),
        (["docker.internal"], "internal", "there are names below this one, and nothing at it"),
        (
            ["nosuch.lab.example"],
            "zone",
            "the zone lab.example. is served here and has no such name; its names are never forwarded",
        ),
        (["www.lab.example", "MX"], "zone", "the zone lab.example. has the name, without a record of this type"),
    ],
)
def test_why_there_is_nothing(explain: Explain, arguments: list[str], stage: str, because: str) -> None:
    told = explain(*arguments)
    assert (stage, because) == (told["stage"], told["because"])
    assert told["answer"].startswith(
        ("NXDOMAIN", "NOERROR, no record of this type (NODATA)", "NOERROR, authoritative, no")
    )


def test_why_nothing_is_forwarded_from_an_internal_network(explain: Explain) -> None:
    told = explain("example.org", "--network", "back")
    assert told["view"] == "networks back, internal (--network names it)"
    assert told["answer"] == "SERVFAIL"
    assert told["error"] == "this client is only on internal networks (EDE 18)"


@pytest.mark.parametrize("name", ["db", "db.back"])
def test_a_name_of_a_network_that_the_asker_is_not_on(explain: Explain, name: str) -> None:
    told = explain(name, "--network", "front")
    assert told["answer"].startswith("NXDOMAIN")
    assert told["elsewhere"] == "the name is known on back, which the asker is not on"


def test_a_link_local_address_is_not_the_host(explain: Explain) -> None:
    told = explain("example.org", "--from", "fe80::77")
    assert (told["stage"], told["view"].partition(" (")[0]) == ("forward", "networks none, internal")
    assert "fe80::77 is link-local: the server goes by the link" in told["view"]
    assert "link-local address, on a link of no known network (EDE 18)" in told["error"]


def test_where_the_rebinding_guard_looks(explain: Explain, folder: Path) -> None:
    said = "an answer with a private address is withheld (forward.rebinding_guard)"
    guarded = folder / "guarded.toml"
    guarded.write_text('[forward]\nrebinding_guard = true\nrebinding_allowed = ["corp.example"]\n')

    assert said in explain("example.org", "-c", str(guarded))["because"]
    assert said not in explain("www.corp.example", "-c", str(guarded))["because"]
    assert said not in explain("example.org")["because"]


def test_who_would_be_asked(explain: Explain) -> None:
    assert explain("example.org")["forwarded"] == "example.org. to 127.0.0.77:53, then 127.0.0.78:53"
    assert explain("example.org", "--upstream", "127.0.0.9:5300")["forwarded"] == "example.org. to 127.0.0.9:5300"
    own = explain("example.org", "--endpoint", "web")["forwarded"]
    assert own == "example.org. to 127.0.0.88:53 (the asker's own servers)"


def test_nobody_to_ask(folder: Path) -> None:
    (folder / "resolv.conf").write_text("")
    done = pydns("explain", *FILES, "example.org", cwd=folder)
    told = lines_of(done.stdout)["forwarded"]
    assert (
        told == "example.org. to nobody, since there is no upstream: SERVFAIL (see forward.upstreams and resolv.conf)"
    )


def test_our_own_address_is_no_upstream(folder: Path) -> None:
    (folder / "c.toml").write_text('[server]\nlisten = ["127.0.0.77:53"]\n')
    done = pydns("explain", "-c", "c.toml", *FILES, "example.org", cwd=folder)
    assert lines_of(done.stdout)["forwarded"] == "example.org. to 127.0.0.78:53"


@pytest.mark.parametrize(
    ("name", "line"),
    [("www.lab.example", 8), ("any.apps.lab.example", 10), ("lab.example", 6), ("x.lab.example", None)],
)
def test_the_line_of_a_record_of_a_zone(explain: Explain, name: str, line: int | None) -> None:
    told = explain(name, "TXT" if name == "lab.example" else "A")
    place = str(SHIPPED / "lab.example.zone")
    assert told["written in"] == (place if line is None else f"{place}:{line}")


def test_an_alias_is_followed_from_a_zone_to_a_container(folder: Path) -> None:
    done = pydns("explain", "--registry", str(SHIPPED / "networks.toml"), "database.lab.example", "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert told["answer"] == ["database.lab.example. 300 IN CNAME db.mynet.", "db.mynet. 600 IN A 172.18.0.2"]
    assert told["written_in"] == [f"{SHIPPED}/lab.example.zone:12", f"{SHIPPED}/networks.toml:8"]


def test_an_address_is_asked_for_its_name(explain: Explain) -> None:
    told = explain("10.1.0.2")
    assert told["question"] == "2.0.1.10.in-addr.arpa. PTR"
    assert told["answer"] == "NOERROR\n2.0.1.10.in-addr.arpa. 600 IN PTR web.front."
    assert explain("10.1.0.2", "A")["question"] == "10.1.0.2. A"


def test_a_view_that_the_configuration_pins(folder: Path) -> None:
    """Whatever the client's address, as the server does."""
    (folder / "c.toml").write_text('[server]\nnetworks = ["front"]\n')
    done = pydns("explain", "-c", "c.toml", *FILES, "db", "--from", "10.2.0.2", cwd=folder)
    told = lines_of(done.stdout)
    assert told["view"] == "networks front (the server shows these to every client)"
    assert told["answer"].startswith("NXDOMAIN")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "nope"], "--network: there is no network 'nope' (there are: back, front)"),
        (["--endpoint", "nope"], "--endpoint: there is no container 'nope' (see: pydns networks)"),
        (
            ["--endpoint", "db", "--network", "front"],
            "--endpoint: the container 'db' is not on network 'front' (it is on: back)",
        ),
        (["--from", "here"], "--from: 'here' is not an IPv4 or IPv6 address (write it like 172.18.0.2 or fd00:18::2)"),
        (
            ["--from", "10.1.0.2", "--network", "front"],
            "--from: contradicts --network and --endpoint (say in one way who asks)",
        ),
        (["NOTYPE"], "TYPE: 'NOTYPE' is not a record type (write A, AAAA, PTR, SRV… or TYPE65280)"),
        (["TYPE65536"], "TYPE: 'TYPE65536' is not a record type (write A, AAAA, PTR, SRV… or TYPE65280)"),
    ],
)
def test_a_question_that_cannot_be_asked(folder: Path, arguments: list[str], message: str) -> None:
    assert complaint("explain", *FILES, "db", *arguments, cwd=folder) == f"pydns: {message}\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a..b", "NAME: 'a..b' has an empty label (two dots in a row, or one in front)"),
        ("bücher.example", "NAME: 'bücher.example' is not ASCII; write it in its xn-- form (RFC 5890)"),
    ],
)
def test_a_name_that_is_none(folder: Path, name: str, message: str) -> None:
    assert complaint("explain", *FILES, name, cwd=folder) == f"pydns: {message}\n"


@pytest.fixture
def server(folder: Path) -> Any:
    """A running server with the same files."""
    with Live(
        folder / "live",
        registry={"two.toml": TWO},
        zones={"lab.example.zone": (SHIPPED / "lab.example.zone").read_text()},
        upstreams=["127.0.0.77", "127.0.0.78:5300"],
    ) as live:
        yield live


def metrics_of(server: Live) -> str:
    return server.http.removeprefix("http://")


@pytest.mark.parametrize(
    "arguments",
    [
        ["web"],
        ["www", "AAAA", "--from", "10.1.0.3"],
        ["redis", "--endpoint", "web"],
        ["db", "--network", "front"],
        ["example.org", "--network", "back"],
        ["example.org", "--endpoint", "web"],
        ["example.org"],
        ["host.docker.internal"],
        ["host.docker.internal", "--network", "back"],
        ["10.2.0.2"],
        ["10.2.0.77"],
        ["_80._tcp.web", "SRV"],
        ["any.apps.lab.example"],
        ["x.lab.example"],
        ["web", "AXFR"],
        ["web", "TYPE65280"],
    ],
)
def test_the_files_and_the_running_server_agree(server: Live, arguments: list[str]) -> None:
    common = ("explain", "-c", str(server.config), "--json", *arguments)
    live = json.loads(pydns(*common, "--metrics", metrics_of(server)).stdout)
    offline = json.loads(pydns(*common, "--offline").stdout)
    assert live.pop("source") == f"the server at {metrics_of(server)}"
    assert offline.pop("source") == "the files (--offline)"
    assert live == offline


def test_a_complaint_of_the_server_is_passed_on(server: Live) -> None:
    at = metrics_of(server)
    assert complaint("explain", "--metrics", at, "web", "--network", "nope") == (
        f"pydns: the server at {at}: --network: there is no network 'nope' (there are: back, front)\n"
    )


def test_variables_do_not_keep_it_from_asking_the_server(server: Live) -> None:
    """They may be those that the server was started with; a flag says what to work from."""
    env = {"PYDNS_REGISTRY": str(SHIPPED / "networks.toml"), "PYDNS_METRICS": metrics_of(server)}
    assert json.loads(pydns("explain", "web", "--json", env=env).stdout)["answer"] == ["web. 600 IN A 10.1.0.2"]
    flag = ("--registry", str(SHIPPED / "networks.toml"))
    told = json.loads(pydns("explain", "web", "--json", *flag, env=env).stdout)
    assert (["web. 600 IN A 172.18.0.3"], "the files (named on the command line)") == (told["answer"], told["source"])


def test_a_server_that_is_named_and_not_there() -> None:
    assert complaint("explain", "web", "--metrics", "127.0.0.1:1") == (
        "pydns: --metrics: no pydns answers at 127.0.0.1:1 (start it, or leave --metrics out to work from the files)\n"
    )


def test_a_server_that_is_not_there(folder: Path) -> None:
    told = json.loads(pydns("explain", "web", "--json", env={"PYDNS_METRICS": "127.0.0.1:1"}).stdout)
    assert told["source"] == "the files (no server answers at 127.0.0.1:1)"
    told = json.loads(pydns("explain", "web", "--json", "--metrics", "off").stdout)
    assert told["source"] == "the files (metrics.listen is off)"


@pytest.mark.parametrize("body", [b"{}", b"[]", b"hello", b'{"stage": 1}'])
def test_somebody_else_at_that_port(body: bytes) -> None:
    from tests.cli.stranger import stranger

    status = 200 if b"stage" not in body else 404
    with stranger(status, body) as at:
        done = pydns("explain", "db", "--json", env={"PYDNS_METRICS": at})
    assert json.loads(done.stdout)["source"] == f"the files (no server answers at {at})"


PROJECTS = """
[networks.shared]
[networks.shared.endpoints.one-db-1]
addresses = ["10.0.0.2"]
aliases = ["db"]
scope = "one"
[networks.shared.endpoints.one-db-1.extra_hosts]
"api.corp.example" = "192.0.2.1"
build = "host-gateway"
[networks.shared.endpoints.two-db-1]
addresses = ["10.0.0.3"]
aliases = ["db"]
scope = "two"
"""


def test_what_an_asker_has_of_its_own(folder: Path) -> None:
    (folder / "projects.toml").write_text(PROJECTS)
    run = ("explain", "--registry", "projects.toml", "--resolv-conf", "resolv.conf", "--endpoint", "one-db-1")

    extra = lines_of(pydns(*run, "api.corp.example", cwd=folder).stdout)
    shared = lines_of(pydns(*run, "db", cwd=folder).stdout)

    assert ("extra_hosts", "the asker alone was given this name (extra_hosts, --add-host)", "projects.toml:3") == (
        extra["stage"],
        extra["because"],
        extra["written in"],
    )
    assert (
        "an alias of container one-db-1 on network shared; two-db-1 has it too, outside the asker's project one"
    ) == shared["because"]


def test_the_list_of_networks_shows_it(folder: Path) -> None:
    (folder / "projects.toml").write_text(PROJECTS)
    listed = pydns("networks", "--registry", "projects.toml", cwd=folder).stdout

    assert "10.0.0.2  one-db-1 db  hosts api.corp.example=192.0.2.1 build=host-gateway  of one  (" in listed


def test_a_route_that_an_asker_with_servers_of_its_own_passes_over(folder: Path, explain: Explain) -> None:
    (folder / "c.toml").write_text('[[forward.routes]]\nsuffix = "corp.example"\nupstreams = ["192.0.2.1"]\n')
    own = explain("www.corp.example", "-c", "c.toml", "--endpoint", "web")["because"]
    common = explain("www.corp.example", "-c", "c.toml", "--endpoint", "cache")["because"]
    assert own.endswith("; the route for corp.example is passed over, since the asker has servers of its own")
    assert "the route for corp.example" == common


def test_what_no_aaaa_does_is_told(folder: Path, explain: Explain) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\noptions no-aaaa\n")
    assert "nobody is asked for AAAA (options no-aaaa in resolv.conf)" in explain("www.example", "AAAA")["because"]
    assert "no-aaaa" not in explain("www.example", "A")["because"]
