"""Labels: pydns's own, compose's, and those of programs that people come from."""

from __future__ import annotations

import pytest

from resolver.sources.docker.labels import Marks, read_labels
from resolver.sources.docker.shape import Complaints


def read(labels: dict[str, object]) -> tuple[Marks, list[str]]:
    complaints = Complaints("docker", "container web")
    return read_labels(labels, complaints), [str(fault) for fault in complaints.faults]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"pydns.names": "shop"}, (("shop", None),)),
        ({"pydns.names": " shop , *.shop.test,, "}, (("shop", None), ("*.shop.test", None))),
        ({"pydns.names": "shop@front,db.internal@back"}, (("shop", "front"), ("db.internal", "back"))),
        ({"com.dnsdock.alias": "db.docker,sql.docker"}, (("db.docker", None), ("sql.docker", None))),
        ({"coredns.dockerdiscovery.host": "nginx.loc"}, (("nginx.loc", None),)),
        ({"dev.orbstack.domains": "foo.local,*.foo.local"}, (("foo.local", None), ("*.foo.local", None))),
        ({"pydns.names": "a", "dev.orbstack.domains": "a,b"}, (("a", None), ("b", None))),
        ({"dps.network": "mynet", "other": "x"}, ()),
    ],
)
def test_more_names(labels: dict[str, object], names: tuple[tuple[str, str | None], ...]) -> None:
    assert (Marks(names=names), []) == read(labels)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("pydns.names", "a b", "'a b' has a space"),
        ("pydns.names", "", "a name may not be empty"),
        ("pydns.names", "@net", "a name may not be empty"),
        ("pydns.names", 7, "7 is no text"),
        ("pydns.names", "x.*.y", "is not its whole first label"),
        ("com.dnsdock.alias", "a..b", "has an empty label"),
        ("pydns.ttl", "soon", "'soon' is no TTL"),
        ("pydns.ttl", "-1", "'-1' is no TTL"),
        ("pydns.ttl", "2147483648", "is no TTL"),
        ("pydns.ttl", "٣", "is no TTL"),
        ("pydns.ignore", "perhaps", "'perhaps' is neither true nor false"),
        ("pydns.healthy_only", None, ""),
        ("pydns.healthy_only", ["true"], "is neither true nor false"),
        ("com.docker.compose.service", "a b", "has a space"),
    ],
)
def test_what_makes_no_sense_is_left_out_and_said(key: str, value: object, said: str) -> None:
    marks, faults = read({key: value})
    assert marks == Marks()
    if not said:
        assert faults == []
        return
    (fault,) = faults
    assert fault.startswith(f"docker: warning: container web.{key}: ")
    assert said in fault
    assert "; left out" in fault


def test_one_bad_name_of_several_costs_only_itself() -> None:
    marks, faults = read({"pydns.names": "good,not good,*.also.good"})
    assert marks.names == (("good", None), ("*.also.good", None))
    assert len(faults) == 1


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("1", True), ("", True), ("False", False), ("no", False)])
def test_yes_and_no(value: str, meant: bool) -> None:
    assert read({"pydns.ignore": value})[0].is_ignored is meant
    assert read({"com.dnsdock.ignore": value})[0].is_ignored is meant
    assert read({"pydns.healthy_only": value})[0].healthy_only is meant


def test_pydnss_own_label_comes_before_anothers() -> None:
    marks, _ = read({"pydns.ttl": "5", "com.dnsdock.ttl": "60", "pydns.ignore": "false", "com.dnsdock.ignore": "true"})
    assert (marks.ttl, marks.is_ignored) == (5, False)
    assert read({"com.dnsdock.ttl": "60"})[0].ttl == 60


@pytest.mark.parametrize(("one_off", "service"), [("False", "web"), ("True", None), ("true", None)])
def test_compose(one_off: str, service: str | None) -> None:
    labels: dict[str, object] = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.oneoff": one_off,
    }
    marks, faults = read(labels)
    assert (marks.project, marks.service, faults) == ("shop", service, [])
