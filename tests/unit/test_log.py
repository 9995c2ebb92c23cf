"""How faults look in the log."""

from __future__ import annotations

import io
import logging

from resolver.cli import options
from resolver.errors import Fault


def test_a_warning_is_called_one_once() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(options._Format())
    log = logging.Logger("test")
    log.addHandler(handler)

    log.warning("%s", Fault("a.toml", "is odd", "mend it", is_warning=True))
    log.error("%s", Fault("a.toml", "is wrong"))

    assert "pydns: warning: a.toml: is odd (mend it)\npydns: error: a.toml: is wrong\n" == stream.getvalue()
