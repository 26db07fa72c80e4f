"""Line charts as SVG, without a library: what `make plots` draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 820, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 300, 34, 40
# Distinguishable for most people who confuse colors (Okabe and Ito, 2008).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MOST_LINES = len(_COLORS)
_GAP = 5.0
"""Seconds without a measurement after which a line is interrupted."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `lines` are points of (seconds, value) by legend; the highest are drawn. `shaded` is from and to."""

    title: str
    unit: str
    lines: Mapping[str, Points]
    shaded: tuple[float, float]
    shaded_label: str


def document(charts: Sequence[Chart], heading: str, label: str, seconds: float) -> str:
    """Return all charts below each other, each from 0 to `seconds`. `label` says what the document is made from."""
    height = 56 + _HEIGHT * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
        f' font-size="11" role="img"><title>{escape(heading)}</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="20" font-size="14" font-weight="bold">{escape(heading)}</text>',
        f'<text x="12" y="38" fill="#444">{escape(label)}</text>',
    ]
    parts += [_chart(chart, 50 + _HEIGHT * number, seconds) for number, chart in enumerate(charts)]
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart, top: float, seconds: float) -> str:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    values = [value for points in chart.lines.values() for _, value in points]
    most = _rounded(max(values, default=1.0))

    def at(second: float, value: float) -> str:
        return f"{_LEFT + width * second / seconds:.1f},{top + _TOP + height * (1 - value / most):.1f}"

    bottom = top + _TOP + height
    begin, end = (_LEFT + width * second / seconds for second in chart.shaded)
    out = [
        f'<text x="{_LEFT}" y="{top + 14}" font-weight="bold">{escape(chart.title)} ({escape(chart.unit)})</text>',
        f'<rect x="{begin:.1f}" y="{top + _TOP}" width="{end - begin:.1f}" height="{height}" fill="#f4dcd6"/>',
        f'<text x="{begin + 3:.1f}" y="{top + _TOP - 4}" fill="#8a3b24">{escape(chart.shaded_label)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = bottom - height * share
        out.append(f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * share:g}</text>')
    for second in range(0, int(seconds) + 1, 20):
        x = _LEFT + width * second / seconds
        out.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{second} s</text>')
    drawn = sorted(chart.lines.items(), key=lambda line: max((value for _, value in line[1]), default=0), reverse=True)
    for number, (legend, points) in enumerate(drawn[:_MOST_LINES]):
        color = _COLORS[number]
        for part in _parts(points):
            path = " ".join(at(second, value) for second, value in part)
            out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')
        y = top + _TOP + 10 + 16 * number
        out.append(f'<rect x="{_LEFT + width + 12}" y="{y - 7:.1f}" width="10" height="4" fill="{color}"/>')
        out.append(f'<text x="{_LEFT + width + 26}" y="{y:.1f}">{escape(legend)}</text>')
    if len(drawn) > _MOST_LINES:
        more = f"and {len(drawn) - _MOST_LINES} lower ones"
        out.append(f'<text x="{_LEFT + width + 12}" y="{top + _TOP + 10 + 16 * _MOST_LINES:.1f}">{more}</text>')
    return "\n".join(out)


def _parts(points: Points) -> Iterator[Points]:
    """Yield the parts of a line between which there are no measurements."""
    begin = 0
    for number in range(1, len(points)):
        if points[number][0] - points[number - 1][0] > _GAP:
            yield points[begin:number]
            begin = number
    yield points[begin:]


def _rounded(value: float) -> float:
    """Return the next higher 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 1.0
    while power > value:
        power /= 10
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)
