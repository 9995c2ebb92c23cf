"""A plain chart of horizontal bars in panels, as SVG: no library, and the same file from the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from xml.sax.saxutils import escape

COLUMNS = 2
CUT = 4
"""How many times the median a bar may be long."""
_WIDTH, _GAP, _TOP, _HEAD, _BAR, _LABEL, _VALUE = 480, 30, 58, 26, 18, 165, 72
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2933 } .title { font-size: 16px; font-weight: 600 }
.head { font-weight: 600 } .value { fill: #52606d } .bar { fill: #9fb3c8 } .ours { fill: #d64545 }
.base { fill: #486581 }
.ground { fill: #ffffff }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One value."""

    label: str
    value: float
    kind: str = "bar"
    """``bar``, ``ours`` or ``base``: its colour."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars that share a scale."""

    title: str
    bars: Sequence[Bar]


def svg(title: str, note: str, panels: Sequence[Panel]) -> str:
    """The chart; panels stand in `COLUMNS` columns, each as tall as its row's tallest."""
    columns = min(COLUMNS, len(panels)) or 1
    parts: list[str] = []
    y = _TOP
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        for number, panel in enumerate(row):
            parts += _panel(panel, _GAP + number * (_WIDTH + _GAP), y)
        y += _HEAD + _BAR * max(len(panel.bars) for panel in row) + _GAP
    width = _GAP + columns * (_WIDTH + _GAP)
    size = f'viewBox="0 0 {width} {y}" width="{width}" height="{y}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{width}" height="{y}"/>',
            _text("title", _GAP, 26, title),
            _text("value", _GAP, 44, note),
            *parts,
            "</svg>\n",
        ]
    )


def scale(bars: Sequence[Bar]) -> float:
    """The value of the longest bar drawn: one that is far beyond the rest is cut, so that they can be told apart."""
    values = [bar.value for bar in bars]
    return min(max(values), CUT * median(values)) if values else 0.0


def _panel(panel: Panel, x: int, y: int) -> list[str]:
    room = _WIDTH - _LABEL - _VALUE
    most = scale(panel.bars)
    parts = [_text("head", x, y + 14, panel.title)]
    for number, bar in enumerate(panel.bars):
        top = y + _HEAD + number * _BAR
        length = min(room * bar.value / most, room) if most > 0 else 0.0
        parts.append(f'<text x="{x + _LABEL - 6}" y="{top + 13}" text-anchor="end">{escape(bar.label)}</text>')
        place = f'x="{x + _LABEL}" y="{top + 2}" width="{length:.1f}" height="{_BAR - 4}"'
        parts.append(f'<rect class="{escape(bar.kind)}" {place}/>')
        cut = "… " if bar.value > most else ""
        parts.append(_text("value", round(x + _LABEL + length + 5), top + 13, f"{cut}{bar.value:.2f}"))
    return parts


def _text(kind: str, x: int, y: int, text: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
