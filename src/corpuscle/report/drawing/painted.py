"""Drawings as PDF and PNG, painted by matplotlib: the same lines, words and colours as in the SVG."""

import re
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, fromstring

from corpuscle.core.errors import InputError
from corpuscle.report.drawing.svg import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("svg", "pdf", "png")
# Fonts to look for, the first that is there for most letters, those behind it for what it lacks.
FONTS = ("Inter", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
# Pixels of a drawing per inch, those of a PNG, and points per pixel.
PIXELS, DOTS, POINTS = 96, 200, 0.75


def require_matplotlib() -> None:
    """Refuse where matplotlib is not installed.

    Raises
    ------
    InputError
        When it is not.
    """
    try:
        import matplotlib as _matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "figures as PDF or PNG need matplotlib, which is not installed: pip install 'corpuscle[plot]'"
        ) from error


def painted(drawing: Drawing, form: str) -> bytes:
    """Return a drawing as a file.

    Parameters
    ----------
    drawing
        The drawing.
    form
        ``"svg"``, ``"pdf"`` (text stays text) or ``"png"`` (200 dots per inch).

    Raises
    ------
    InputError
        When matplotlib is not installed.
    """
    if form == "svg":
        return drawing.render().encode()
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(drawing.width / PIXELS, drawing.height / PIXELS))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    place = BytesIO()
    about: dict[str, Any] = {"CreationDate": None} if form == "pdf" else {}
    with mpl.rc_context({"pdf.fonttype": 42, "font.family": _fonts()}), warnings.catch_warnings():
        # Letters that no font has are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        paint(fromstring(drawing.render()), axes)
        figure.savefig(place, format=form, dpi=DOTS, metadata=about)
    return place.getvalue()


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    return [name for name in FONTS if name in known]


def paint(root: Element, axes: "Axes") -> None:
    """Paint what is in an SVG of `Drawing` on axes whose unit is its pixel, in the same order."""
    from matplotlib.patches import Rectangle

    clips = {}
    for order, element in enumerate(root.iter()):
        tag = element.tag.rpartition("}")[2]
        if tag == "clipPath":
            box = [float(element[0].attrib[name]) for name in ("x", "y", "width", "height")]
            clips[f"url(#{element.attrib['id']})"] = Rectangle(
                (box[0], box[1]), box[2], box[3], transform=axes.transData
            )
        elif tag in PAINTERS and "%" not in element.get("width", "") and {"fill", "stroke"} & set(element.keys()):
            artist = PAINTERS[tag](element, axes)
            artist.set_zorder(order)
            if clip := clips.get(element.get("clip-path", "")):
                artist.set_clip_path(clip)


def _number(element: Element, name: str, default: float = 0.0) -> float:
    return float(element.get(name, default))


def _stroke(element: Element) -> dict[str, Any]:
    """How a line looks."""
    dashes = [float(part) for part in element.get("stroke-dasharray", "").split()]
    return {
        "color": element.get("stroke", "none"), "linewidth": POINTS * _number(element, "stroke-width", 1.0),
        "linestyle": (0, tuple(POINTS * part for part in dashes)) if dashes else "-", "solid_capstyle": "butt",
    }  # fmt: skip


def _filled(element: Element) -> dict[str, Any]:
    """How an area looks."""
    edge = element.get("stroke", "none")
    width = POINTS * _number(element, "stroke-width", 1.0) if edge != "none" else 0.0
    ground = (element.get("fill", "none"), _number(element, "fill-opacity", 1.0))
    return {"facecolor": ground, "edgecolor": edge, "linewidth": width}


def _rectangle(element: Element, axes: "Axes") -> Any:
    from matplotlib.patches import Rectangle

    x, y, width, height = (_number(element, name) for name in ("x", "y", "width", "height"))
    return axes.add_patch(Rectangle((x, y), width, height, **_filled(element)))


def _polygon(element: Element, axes: "Axes") -> Any:
    from matplotlib.patches import Polygon

    return axes.add_patch(Polygon(_points(element), closed=True, **_filled(element)))


def _points(element: Element) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in element.get("points", "").split())
    return [(float(x), float(y)) for x, y in pairs]


def _circle(element: Element, axes: "Axes") -> Any:
    from matplotlib.patches import Circle

    x, y, radius = (_number(element, name) for name in ("cx", "cy", "r"))
    return axes.add_patch(Circle((x, y), radius, **_filled(element)))


def _line(element: Element, axes: "Axes") -> Any:
    x1, y1, x2, y2 = (_number(element, name) for name in ("x1", "y1", "x2", "y2"))
    return axes.plot([x1, x2], [y1, y2], **_stroke(element))[0]


def _polyline(element: Element, axes: "Axes") -> Any:
    points = _points(element)
    return axes.plot([x for x, _ in points], [y for _, y in points], **_stroke(element))[0]


def _dots(element: Element, axes: "Axes") -> Any:
    """Draw the dots of `Drawing.dots`, a path of points."""
    points = [(float(x), float(y)) for x, y in re.findall(r"M(\S+) (\S+?)h0", element.get("d", ""))]
    size = POINTS * _number(element, "stroke-width", 1.0)
    look: dict[str, Any] = {"color": element.get("stroke"), "alpha": _number(element, "stroke-opacity", 1.0)}
    return axes.scatter([x for x, _ in points], [y for _, y in points], s=size**2, linewidths=0, **look)


def _text(element: Element, axes: "Axes") -> Any:
    from matplotlib.patheffects import withStroke

    sides = {"middle": "center", "end": "right"}
    text = axes.text(
        _number(element, "x"), _number(element, "y"), (element.text or "").replace("$", r"\$"),
        color=element.get("fill"), fontsize=POINTS * _number(element, "font-size", 11.0),
        fontweight="bold" if _number(element, "font-weight", 400.0) >= 600 else "normal", va="baseline",
        ha=sides.get(element.get("text-anchor", ""), "left"),
    )  # fmt: skip
    if element.get("paint-order") == "stroke":
        width = POINTS * _number(element, "stroke-width", 1.0)
        text.set_path_effects([withStroke(linewidth=width, foreground=element.get("stroke", "none"))])
    return text


PAINTERS: dict[str, Callable[[Element, "Axes"], Any]] = {
    "rect": _rectangle, "circle": _circle, "polygon": _polygon, "line": _line, "polyline": _polyline, "path": _dots,
    "text": _text,
}  # fmt: skip


def checked_formats(forms: Sequence[str]) -> list[str]:
    """Return in which forms figures are wanted besides SVG.

    Raises
    ------
    InputError
        When a form is not known, or needs what is not installed.

    Examples
    --------
    >>> checked_formats(["svg"])
    []
    """
    unknown = [form for form in forms if form not in FORMATS]
    if unknown:
        raise InputError(f"figures: expected {', '.join(FORMATS)}, not {', '.join(map(repr, unknown))}")
    wanted = [form for form in dict.fromkeys(forms) if form != "svg"]
    if wanted:
        require_matplotlib()
    return wanted
