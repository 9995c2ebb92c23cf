"""What of pydns is compiled, where a compiler was at hand when it was installed: each of it, or None.

``PYDNS_LANE=python`` in the environment leaves it aside, for comparison.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resolver import _ask, _lane

    lane: ModuleType | None = _lane
    """The fast lane."""
    ask: ModuleType | None = _ask
    """Datagrams to upstreams."""
elif os.environ.get("PYDNS_LANE") == "python":
    lane = ask = None
else:
    try:
        from resolver import _lane as lane
    except ImportError:
        lane = None
    try:
        from resolver import _ask as ask
    except ImportError:
        ask = None
