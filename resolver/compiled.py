"""What of pydns is compiled, where a compiler was at hand when it was installed: the fast lane, or None.

``PYDNS_LANE=python`` in the environment leaves it aside, for comparison.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resolver import _lane

    lane: ModuleType | None = _lane
elif os.environ.get("PYDNS_LANE") == "python":
    lane = None
else:
    try:
        from resolver import _lane as lane
    except ImportError:
        lane = None
