"""A drawing that needs nothing else: SVG with escaped text, colours that a page can re-theme, and axes.

Every coloured element carries its colour twice: as an attribute, which makes the file stand alone, and as a class,
which a page's style sheet may override (for dark mode); style sheets win over attributes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import escape

INK, MUTED, RULE, SURFACE, PANEL = "ink", "muted", "rule", "surface", "panel"
TRAIN, VALID = "train", "valid"
# One meaning per colour: cool is better than the baseline and warm is worse, in every figure; nothing else is either.
THEME = {
    INK: "#1c2430", MUTED: "#5b6675", RULE: "#d4d9e0", SURFACE: "#ffffff", PANEL: "#f6f7f9",
    TRAIN: "#8d99a8", VALID: "#1c2430", "cool": "#2a78b8", "warm": "#d9731a", "neutral": "#aab2bd",
}  # fmt: skip
# Categories: any two of them, and `OTHER`, differ by a CIEDE2000 of 11 or more to normal, protanopic and deuteranopic
# eyes, and by as much from cool and warm; found by a search over colours of middling chroma, and held by a test.
CATEGORIES = (
    "#6b7ecd", "#d2d178", "#ad6680", "#2b6148", "#82e4be", "#684782", "#8e8531", "#74c9ec", "#82520f", "#b89881",
)  # fmt: skip
OTHER = "#a9b0b9"
FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"

# Of a letter's size.
NARROWEST = 0.34
_NARROW, _WIDE = set("iljtfrI.,:;|!'()[] "), set("mwMW@%&")


class Drawing:
    """An SVG drawing, built element by element in the order of painting.

    Parameters
    ----------
    width, height
        In pixels, which are also the units of every coordinate.
    name
        Unique among the drawings of a page; it prefixes the ids inside.
    title
        What a screen reader says.

    Examples
    --------
    >>> drawing = Drawing(40, 20, name="d", title="a < b")
    >>> drawing.text(2, 12, "T & B")
    >>> "a &lt; b" in drawing.render() and "T &amp; B" in drawing.render()
    True
    """

    def __init__(self, width: float, height: float, *, name: str, title: str) -> None:
        self.width, self.height, self.name, self.title = width, height, name, title
        self._parts: list[str] = []

    def add(self, tag: str, *, tip: str = "", content: str = "", **attributes: Any) -> None:
        """Add an element; `fill` and `stroke` may name a colour of `THEME`; `tip` shows on hover."""
        inner = f"<title>{_clean(tip)}</title>" if tip else ""
        self._parts.append(f"<{tag}{_attributes(attributes)}>{inner}{_clean(content)}</{tag}>")

    def text(self, x: float, y: float, content: str, **attributes: Any) -> None:
        """Write one line of text with its baseline at `y`; 11 px and ink by default."""
        self.add("text", content=content, **{"x": x, "y": y, "font_size": 11, "fill": INK, **attributes})

    def line(self, x1: float, y1: float, x2: float, y2: float, **attributes: Any) -> None:
        """Draw a straight line; a thin rule by default."""
        self.add("line", **{"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke": RULE, **attributes})

    def path(self, points: Sequence[tuple[float, float]], **attributes: Any) -> None:
        """Draw a line through `points`."""
        steps = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.add("polyline", **{"points": steps, "fill": "none", "stroke": INK, **attributes})

    def dots(self, points: Sequence[tuple[float, float]], radius: float, **attributes: Any) -> None:
        """Draw many dots as one path of round caps: a tenth of the size of as many circles.

        Dots that fall on the same half pixel are drawn once.
        """
        grid = sorted({(round(2 * x) / 2, round(2 * y) / 2) for x, y in points})
        steps = "".join(f"M{_number(x)} {_number(y)}h0" for x, y in grid)
        look = {"stroke_width": 2 * radius, "stroke_linecap": "round", "fill": "none", "stroke": INK}
        self.add("path", **{"d": steps, **look, **attributes})

    def clip(self, x: float, y: float, width: float, height: float) -> str:
        """Define a clipping rectangle; returns the value for `clip_path`."""
        name = f"{self.name}-clip{len(self._parts)}"
        shape = f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"/>'
        self._parts.append(f'<clipPath id="{_clean(name)}">{shape}</clipPath>')
        return f"url(#{name})"

    def render(self, *, inline: bool = False) -> str:
        """Return the SVG; with `inline`, for a page: no XML header and no ground of its own."""
        box = f'viewBox="0 0 {_number(self.width)} {_number(self.height)}" width="{_number(self.width)}"'
        start = f'<svg {box} height="{_number(self.height)}" role="img" font-family="{_clean(FONT)}"'
        start += "" if inline else ' xmlns="http://www.w3.org/2000/svg"'
        ground = "" if inline else f'<rect width="100%" height="100%" fill="{THEME[SURFACE]}"/>\n'
        body = "\n".join(self._parts)
        return f"{start}>\n<title>{_clean(self.title)}</title>\n{ground}{body}\n</svg>\n"


def text_width(content: str, size: float = 11) -> float:
    """Estimate the width of a text in pixels, on the generous side: no font is measured.

    Examples
    --------
    >>> text_width("ill", 10) < text_width("mmm", 10)
    True
    """
    widths = (
        NARROWEST
        if c in _NARROW
        else 0.92
        if c in _WIDE
        else 1.05
        if ord(c) > 0x2E7F
        else 0.7
        if c.isupper()
        else 0.575
        for c in content
    )
    return size * sum(widths)


def fitted(content: str, width: float, size: float = 11) -> str:
    """Shorten a text with an ellipsis until it fits.

    Examples
    --------
    >>> fitted("excitatory neuron", 60)
    'excitatory…'
    """
    # No letter is narrower: what is longer than so many is cut at once, however long it is.
    most = int(width / (NARROWEST * size)) + 2
    if len(content) <= most and text_width(content, size) <= width:
        return content
    content = content[:most]
    while content and text_width(content + "…", size) > width:
        content = content[:-1]
    return content.rstrip() + "…" if content else ""


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map [low, high] linearly to pixels [start, end]; a range without width maps to the middle."""
    span = high - low
    if span == 0:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / span * (end - start)


def ticks(low: float, high: float, at_most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within [low, high].

    Examples
    --------
    >>> ticks(0, 4000, 4)
    [0.0, 1000.0, 2000.0, 3000.0, 4000.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def mix(colour: str, ground: str, weight: float) -> str:
    """Blend two hex colours: `weight` 1 is `colour`, 0 is `ground`."""
    pairs = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(weight * a + (1 - weight) * b):02x}" for a, b in pairs)


def on_top(colour: str) -> str:
    """Black or white, whichever reads better on a hex colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#10151c"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _clean(content: object) -> str:
    """Escape for XML and drop the control characters that XML cannot hold."""
    return str(escape("".join(c for c in str(content) if c >= " " or c in "\t\n")))


def _attributes(attributes: dict[str, object]) -> str:
    """Write attributes; a theme colour becomes a class and its literal value."""
    classes, parts = [], []
    for name, value in attributes.items():
        shown: object = _number(value) if isinstance(value, float) else value
        if name in ("fill", "stroke") and value in THEME:
            classes.append(f"{name[0]}-{value}")
            shown = THEME[str(value)]
        parts.append(f' {name.replace("_", "-")}="{_clean(shown)}"')
    return (f' class="{" ".join(classes)}"' if classes else "") + "".join(parts)
