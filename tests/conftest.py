"""What holds for every test: one that was skipped is a failed one wherever a machine judges."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

STRICT = bool(os.environ.get("CI") or os.environ.get("NO_SKIPS"))
"""True under CI and `make test`: nothing may be skipped, expected to fail, or left out."""

# A shared machine of two cores pauses for longer than hypothesis' 200 ms; pytest-timeout bounds each test.
settings.register_profile("pydns", parent=settings.get_profile("ci" if STRICT else "default"), deadline=None)
settings.load_profile("pydns")

_not_run: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to run without root what needs it; who leaves it out says so with -m."""
    if os.geteuid() != 0 and any(item.get_closest_marker("root") for item in items):
        raise pytest.UsageError("tests that make network namespaces need root: sudo make test, or pytest -m 'not root'")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep on one worker what shares fixtures: a file, and all that wants a dockerd of the tests' own."""
    folder = item.path.parent.name
    item.add_marker(pytest.mark.xdist_group(folder if folder in ("docker", "golden") else str(item.path)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test that was skipped or was expected to fail."""
    if report.skipped:
        _not_run.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module that was skipped whole."""
    if report.skipped:
        _not_run.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that would have passed with tests left out."""
    if STRICT and _not_run and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why such a run failed."""
    if STRICT and _not_run:
        terminalreporter.section("skipped is failed (CI or NO_SKIPS is set)", red=True)
        for nodeid in _not_run:
            terminalreporter.write_line(nodeid)
