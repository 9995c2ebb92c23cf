"""What a server has imported by its first answers: nothing that it has no use for yet."""

from __future__ import annotations

from tests.scenarios.conftest import Serve
from tests.scenarios.imports import LATE, OPENSSL, TELLING, imported


def test_a_server_answers_without_what_it_does_not_need(serve: Serve) -> None:
    live = serve(prefix=TELLING)

    with live.tcp() as stream:
        assert stream.ask("db").answer
    assert live.addresses("db") == {"172.18.0.2"}

    assert imported(live.stderr, LATE) == []


def test_a_scrape_does_not_load_openssl(serve: Serve) -> None:
    live = serve(prefix=TELLING)

    assert live.count("pydns_registry_entries", kind="endpoints") == 2
    assert live.page("/healthz").json["status"] == "ok"

    assert imported(live.stderr, ("prometheus_client", "wsgiref")) == ["prometheus_client", "wsgiref"]
    assert imported(live.stderr, OPENSSL) == []


def test_zone_files_do_not_load_openssl(serve: Serve) -> None:
    text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n@ TXT hello\n"
    live = serve(prefix=TELLING, zones={"a.test.zone": text})

    assert live.addresses("a.test", "TXT") == {'"hello"'}

    assert imported(live.stderr, ("dns.zonefile", "dns.rdtypes.txtbase")) == ["dns.zonefile", "dns.rdtypes.txtbase"]
    assert imported(live.stderr, OPENSSL) == []
