"""A still picture: one SVG, without a program, light or dark as its reader has it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from modfs.observed import result as told_result
from modfs.pictures.lanes import Lane, lanes
from modfs.pictures.story import KINDS, Bar, Story

_WIDE, _GUTTER, _RIGHT = 1200, 190, 12
_ROW, _GAP, _AXIS, _HEAD = 14, 5, 22, 48
_LOWER = ((300, 1.0), (100, 2.0), (32, 4.0), (8, 6.0))  # rows of a lane, pixels of each
_LONGEST_NAME = 24  # letters that the gutter has room for

_LIGHT = {
    "read": "#4c8ed0", "unpack": "#8f6cc4", "check": "#93a1b0", "link": "#2f9e94",
    "init": "#5aa63c", "wait": "#e3b341", "remove": "#b07a4f", "other": "#c3cad2",
    "failed": "#d1242f", "moment": "#8250df", "paper": "#ffffff", "ink": "#1b1f24",
    "soft": "#5b6570", "line": "#d5dae0", "band": "#f4f6f8",
}  # fmt: skip
_DARK = {
    "read": "#5b9fe3", "unpack": "#a98be0", "check": "#75828f", "link": "#3fb5aa",
    "init": "#6cbd4c", "wait": "#d6a52f", "remove": "#bd8a61", "other": "#4c5763",
    "failed": "#ff5f5f", "moment": "#b392f0", "paper": "#14181d", "ink": "#e6eaef",
    "soft": "#9aa6b2", "line": "#333b45", "band": "#1a1f26",
}  # fmt: skip

# What XML 1.0 has no place for, and what would turn the direction of the text after it.
_NO_TEXT = re.compile(
    "[^\\t\\n\\r -\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
    "|[\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]"
)


def drawing(stories: Sequence[Story]) -> str:
    """The SVG: one source, or two, one below the other on one scale of time."""
    length = max(1e-6, *(story.ended - story.began for story in stories))
    parts, top = [], 0.0
    for story in stories:
        part = _Part(story, length, top)
        parts.append("".join(part.elements()))
        top = part.bottom
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{top:.0f}"'
        f' viewBox="0 0 {_WIDE} {top:.0f}" font-family="system-ui, sans-serif">\n'
        f"<style>{_style()}</style>\n"
        f'<rect class="paper" width="{_WIDE}" height="{top:.0f}"/>\n{"".join(parts)}</svg>\n'
    )


def text(words: str, most: int = 400) -> str:
    """Words for the inside of an element or an attribute, and no markup whatever they hold."""
    clean = _NO_TEXT.sub("\ufffd", words)
    shown = clean if len(clean) <= most else f"{clean[: most - 1]}…"
    return escape(shown, {'"': "&quot;", "\t": " ", "\n": " ", "\r": " "})


def _style() -> str:
    def rules(colours: dict[str, str]) -> str:
        return "".join(f".{name}{{fill:{colour}}}" for name, colour in colours.items())

    return f"{rules(_LIGHT)}@media (prefers-color-scheme:dark){{{rules(_DARK)}}}"


class _Part:
    """One source, from ``top`` on; ``length``: seconds of the scale."""

    def __init__(self, story: Story, length: float, top: float) -> None:
        self._story = story
        self._length = length
        self._top = top
        self._lanes = lanes(story)
        heights = [max(len(lane.rows) * self._row(lane), _ROW) + _GAP for lane in self._lanes]
        self._first = top + _HEAD + _AXIS
        self.bottom = self._first + sum(heights) + 10
        self._heights = heights

    def elements(self) -> Iterator[str]:
        """All that is drawn of it."""
        yield from self._head()
        yield from self._bands()
        yield from self._axis()
        yield from self._calls()
        yield from self._marks()

    @staticmethod
    def _row(lane: Lane) -> float:
        """The more calls there are at one time, the lower each: a storm is to be seen as one."""
        rows = len(lane.rows)
        return next((height for most, height in _LOWER if rows > most), _ROW)

    def _x(self, seconds: float) -> float:
        return _GUTTER + seconds / self._length * (_WIDE - _GUTTER - _RIGHT)

    def _head(self) -> Iterator[str]:
        story, top = self._story, self._top
        wasted = sum(bar.wasted for bar in story.bars)
        failed = sum(bar.failed for bar in story.bars)
        told = (
            f"kernel {story.kernel}, {len(story.bars)} calls in {span(story.ended - story.began)},"
            f" {failed} failed, {wasted:,} bytes wasted"
        )
        yield f'<text class="ink" x="8" y="{top + 18}" font-size="14"><tspan font-weight="600">'
        yield f'{text(story.title, 60)}</tspan> <tspan class="soft">{text(told)}</tspan></text>\n'
        used = {part.kind for bar in story.bars for part in bar.parts}
        x = 8
        for kind in [*(kind for kind in KINDS if kind in used), "failed"]:
            yield f'<rect class="{kind}" x="{x}" y="{top + 29}" width="12" height="9"/>'
            yield f'<text class="soft" x="{x + 16}" y="{top + 38}" font-size="11">{kind}</text>\n'
            x += 30 + 7 * len(kind)

    def _bands(self) -> Iterator[str]:
        y = self._first
        for number, (lane, height) in enumerate(zip(self._lanes, self._heights, strict=True)):
            if number % 2:
                yield f'<rect class="band" x="0" y="{y:g}" width="{_WIDE}" height="{height:g}"/>'
            shade = "failed" if any(bar.failed for bar in lane.bars) else "ink"
            count = f" \u00d7{len(lane.bars)}" if len(lane.bars) > 1 else ""
            yield (
                f'<text class="{shade}" x="8" y="{y + 10:g}" font-size="11">'
                f"{text(lane.name, _LONGEST_NAME)}"
                f'<tspan class="soft">{count}</tspan></text>\n'
            )
            y += height

    def _axis(self) -> Iterator[str]:
        step = nice_step(self._length / 9)
        y = self._top + _HEAD + 15
        for number in range(int(self._length / step) + 1):
            x = self._x(number * step)
            yield (
                f'<rect class="line" x="{x:.1f}" y="{y + 5:g}" width="1"'
                f' height="{self.bottom - y - 5:.1f}"/>'
            )
            anchor = "start" if number == 0 else "middle" if x < _WIDE - 30 else "end"
            yield (
                f'<text class="soft" x="{x:.1f}" y="{y:g}" font-size="10"'
                f' text-anchor="{anchor}">{span(number * step, step)}</text>\n'
            )

    def _calls(self) -> Iterator[str]:
        top = self._first
        for lane, height in zip(self._lanes, self._heights, strict=True):
            row_height = self._row(lane)
            gap = 2 if row_height == _ROW else 1 if row_height > 2 else 0
            for number, row in enumerate(lane.rows):
                for bar in row:
                    yield self._bar(bar, top + number * row_height, row_height - gap)
            top += height

    def _bar(self, bar: Bar, y: float, height: float) -> str:
        began = self._story.began
        left, right = self._x(bar.begin - began), self._x(bar.end - began)
        right = max(right, left + 1)
        made = [f"<g><title>{text(_told(bar, began))}</title>"]
        x = left
        for number, part in enumerate(bar.parts, 1):
            end = right if number == len(bar.parts) else self._x(part.end - began)
            made.append(_rect(part.kind, x, y, end - x, height))
            x = end
        if not bar.parts:
            made.append(_rect("other", left, y, right - left, height))
        if bar.failed:
            if height > 8:
                made.append(_rect("failed", left, y + height - 3, right - left, 3))
            made.append(_rect("failed", max(left, right - 2.5), y, min(2.5, right - left), height))
        return "".join([*made, "</g>\n"])

    def _marks(self) -> Iterator[str]:
        y = self._first
        for request in self._story.requests:
            x = self._x(request.at - self._story.began)
            told = f"the kernel asked for {request.module}, in {request.task.name}"
            yield (
                f'<path class="moment" d="M{x:.1f} {y - 2:g}l4 5l-4 5l-4 -5z">'
                f"<title>{text(told)}</title></path>\n"
            )
        for moment in self._story.moments:
            at = moment.at - self._story.began
            if 0 <= at <= self._length:
                x = self._x(at)
                yield (
                    f'<rect class="moment" opacity=".5" x="{x:.1f}" y="{y - 4:g}" width="1"'
                    f' height="{self.bottom - y:.1f}"><title>{text(moment.name)}</title></rect>\n'
                )


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y:g}" width="{max(width, 0.3):.2f}"'
        f' height="{height:g}"/>'
    )


def _told(bar: Bar, began: float) -> str:
    """One line on a call."""
    why = f", {bar.reason}" if bar.failed else ""
    cost = f", {bar.wasted:,} bytes wasted" if bar.wasted else ""
    open_end = " (its end was not seen)" if bar.is_open else ""
    return (
        f"{bar.call.call} {bar.module} by {bar.who}: {told_result(bar.call.result)}{why}{cost};"
        f" {span(bar.end - bar.begin)} from {bar.begin - began:.6f} s{open_end}"
    )


def span(seconds: float, step: float = 0.0) -> str:
    """A time in s, ms or µs; ``step``: with as many digits as such steps need."""
    unit, scale = next(
        (pair for pair in (("s", 1.0), ("ms", 1e3)) if (step or seconds) * pair[1] >= 1),
        ("µs", 1e6),
    )
    digits = 0 if step else 3 if unit == "s" else 1
    return f"{seconds * scale:.{digits}f} {unit}"


def nice_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, and at least ``about``."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= about * 0.999)
