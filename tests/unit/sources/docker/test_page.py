"""docs/docker.md against the code: its labels, its example, its message."""

from __future__ import annotations

import re

from resolver.sources.docker import labels
from resolver.sources.docker.containers import read_container
from resolver.sources.docker.labels import read_labels
from resolver.sources.docker.shape import Complaints
from tests.docs.pages import blocks, rows
from tests.scenarios.live import ROOT
from tests.unit.sources.docker.recordings import container, place

PAGE = ROOT / "docs" / "docker.md"


def test_the_page_lists_every_label_and_no_other() -> None:
    source = (ROOT / "resolver" / "sources" / "docker" / "labels.py").read_text()
    read = set(re.findall(r'"((?:pydns|com\.\w+|coredns|dev)\.[\w.]+)"', source))
    listed = {row[0].strip("`") for row in rows(PAGE, "label")}
    assert listed == read
    assert labels.NAMES in listed


def test_the_labels_of_the_example_are_accepted() -> None:
    (example,) = blocks("yaml", PAGE)
    given = dict(re.findall(r'^ {6}(pydns\.\w+): "(.*)"$', example.text, re.MULTILINE))
    assert set(given) == {"pydns.names", "pydns.ttl", "pydns.healthy_only", "pydns.ignore"}
    complaints = Complaints("docker", "container shop")
    marks = read_labels(given, complaints)
    assert complaints.faults == []
    assert marks.names == (("shop.example.test", None), ("*.shop.example.test", None))
    assert (marks.ttl, marks.is_ignored, marks.healthy_only) == (5, True, True)


def test_the_message_of_the_page_is_what_is_said() -> None:
    _, (fault,) = read_container(container("web", {"front": place("front", "172.18.0.2", "a b")}), "docker")
    assert str(fault) in PAGE.read_text()
