"""The daemon of the docker tests: one for all of them, empty at the start of each module, taken away at the end."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.docker.daemon import Daemon

_STARTED = pytest.StashKey[Daemon]()


@pytest.fixture(scope="session")
def dockerd(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """The daemon itself; a test wants `daemon`."""
    with Daemon() as started:
        request.session.stash[_STARTED] = started
        yield started


@pytest.fixture(scope="module")
def daemon(dockerd: Daemon) -> Iterator[Daemon]:
    """A running dockerd with the base image; what a module leaves in it goes with the module."""
    yield dockerd
    dockerd.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what dockerd said last beside a test that failed with it."""
    report = yield
    started = item.session.stash.get(_STARTED, None)
    if report.failed and started is not None:
        report.sections.append(("dockerd's last words", started.log_tail()))
    return report
