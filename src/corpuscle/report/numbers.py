"""Numbers and names as a reader sees them, and file names that no data can bend."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from corpuscle.core.text import plural as plural  # noqa: PLC0414  # numbers.plural, to the report

DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "zero": "nearer to zero is better",
    "none": "neither way is better",
}


def way(name: str) -> str:
    """Write in which way a metric was found.

    Examples
    --------
    >>> way("whole, class_weights"), way("")
    ('whole, class weights', 'as it is')
    """
    return name.replace("_", " ") or "as it is"


def number(value: float, digits: int = 3) -> str:
    """Write a number with about `digits` significant digits and a true minus sign.

    Examples
    --------
    >>> number(0.35218), number(-12.3456), number(12345.6), number(0.00002), number(0.0)
    ('0.352', '−12.3', '12,346', '2.0e−05', '0')
    """
    if not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 10**-digits:
        shown = f"{value:.1e}"
    else:
        decimals = max(0, digits if size < 1 else digits - 1 - math.floor(math.log10(size)))
        shown = f"{value:,.{decimals}f}"
    return shown.replace("-", "−")


def spread(half: float, value: float) -> str:
    """Write half the width of an interval to the decimals of the mean that it stands next to it.

    Examples
    --------
    >>> spread(0.0123, value=0.352), spread(0.00004, value=0.352), spread(12.3, value=850.2)
    ('±0.012', '±<0.001', '±12')
    """
    decimals = len(number(value).partition(".")[2])
    if not math.isfinite(half):
        return ""
    smallest = f"{10**-decimals:.{decimals}f}"
    return f"±{half:,.{decimals}f}" if half == 0 or half >= 10**-decimals / 2 else f"±<{smallest}"


def ranged(low: float, high: float, value: float) -> str:
    """Write the ends of an interval to the decimals of the mean that it stands next to.

    Examples
    --------
    >>> ranged(0.3407, 0.3641, value=0.352), ranged(-0.2, 0.1, value=-0.05), ranged(float("nan"), 1, value=0.352)
    ('0.341–0.364', '−0.200 to 0.100', '')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    decimals = len(number(value).partition(".")[2])
    ends = [f"{end:,.{decimals}f}".replace("-", "−") for end in (low, high)]
    return ("–" if low >= 0 else " to ").join(ends)


def duration(seconds: float) -> str:
    """Write how long something took.

    Examples
    --------
    >>> print(duration(0.42), duration(35.3), duration(754), duration(9000), sep=", ")
    0.4 s, 35 s, 13 min, 2.5 h
    """
    if not math.isfinite(seconds):
        return "n/a"
    unit, size = ("s", 1) if seconds < 99.5 else ("min", 60) if seconds < 5970 else ("h", 3600)
    return f"{seconds / size:.{1 if seconds / size < 9.95 else 0}f}\N{NO-BREAK SPACE}{unit}"


def letter(position: int) -> str:
    """Letter of a footnote, counted from 1; after z come aa, ab and so on.

    Examples
    --------
    >>> letter(1), letter(26), letter(27)
    ('a', 'z', 'aa')
    """
    shown = ""
    while position > 0:
        position, rest = divmod(position - 1, 26)
        shown = chr(ord("a") + rest) + shown
    return shown


def breakable(name: str) -> Markup:
    """Escape a name and let it break after the characters that join its parts, rather than inside a word.

    Examples
    --------
    >>> print(breakable("Blood+<b>"))
    Blood+<wbr>&lt;b&gt;
    """
    parts = re.split(r"(?<=[+\-_/|,])", name)
    return Markup("<wbr>").join(parts)


def signed(value: float, decimals: int = 2) -> str:
    """Write a number with its sign.

    Examples
    --------
    >>> signed(0.5), signed(-0.661), signed(0.001)
    ('+0.50', '−0.66', '0.00')
    """
    if not math.isfinite(value):
        return "n/a"
    shown = f"{value:+.{decimals}f}"
    return (shown[1:] if float(shown) == 0 else shown).replace("-", "−")


def percent(log2_fold_change: float) -> str:
    """Write a log2 fold change as a percentage.

    Examples
    --------
    >>> print(percent(-1.0), percent(0.1375))
    −50 % +10 %
    """
    change = 100 * (2**log2_fold_change - 1)
    decimals = 0 if abs(change) >= 9.5 else 1
    # Neither nothing nor all, unless it is: digits are added until that can be seen.
    while decimals < 9 and round(change, decimals) in (0, -100) and log2_fold_change != 0:
        decimals += 1
    return f"{signed(change, decimals)}\N{NO-BREAK SPACE}%"


def difference(value: float) -> str:
    """Write a difference with its sign.

    Examples
    --------
    >>> difference(0.64), difference(-0.0123), difference(0.00002), difference(0.0)
    ('+0.640', '−0.012', '+2.0e−05', '0')
    """
    return f"+{number(value)}" if value > 0 else number(value)


def apart(one: float, other: float) -> tuple[str, str]:
    """Write two numbers with as many digits as it takes to see that they differ, where they do.

    Examples
    --------
    >>> apart(0.52, 0.4), apart(0.52001, 0.52002), apart(0.5, 0.5)
    (('0.520', '0.400'), ('0.52001', '0.52002'), ('0.500', '0.500'))
    """
    shown = number(one), number(other)
    for digits in range(4, 13):
        if shown[0] != shown[1] or one == other:
            break
        shown = number(one, digits), number(other, digits)
    return shown


def file_stem(*parts: str, used: set[str] | None = None) -> str:
    """Make a file name of letters, digits and hyphens from any text; add it to `used` and never repeat one there.

    Examples
    --------
    >>> file_stem("heatmap", "R² (log)", "../a/b")
    'heatmap-r2-log-a-b'
    >>> used: set[str] = set()
    >>> file_stem("x", "a/b", used=used) == file_stem("x", "a b", used=used)
    False
    """
    text = unicodedata.normalize("NFKD", "-".join(parts)).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:80].strip("-") or "figure"
    if used is not None:
        if stem in used:
            stem += "-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
        used.add(stem)
    return stem


def listed(value: object) -> str:
    """Write a value of the study file for a reader: a table as "key value" pairs, a list with commas.

    Examples
    --------
    >>> listed({"n_latent": 10, "budget": {"epochs": 50}})
    'n_latent 10, budget epochs 50'
    >>> listed(["blood", {"source": "blood", "where": "age > 60", "name": "old"}])
    'blood, old'
    """
    if isinstance(value, dict):
        if "name" in value:
            return str(value["name"])
        return ", ".join(f"{key} {listed(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(listed(entry) for entry in value)
    return str(value)


def design(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what the study file asked for besides the corpora, as (heading, text) pairs.

    Examples
    --------
    >>> design({"models": [{"name": "pca", "n_latent": 10}], "quality": {"min_counts": 500}})
    [('Model', 'pca (n_latent 10)'), ('Quality', 'min_counts 500')]
    """
    models = []
    for model in study.get("models", []):
        rest = {key: value for key, value in model.items() if key not in ("name", "label")}
        name = str(model.get("label", model.get("name", "")))
        models.append(f"{name} ({listed(rest)})" if rest else name)
    tasks = [f"{t.get('label', t.get('name', ''))} on {listed(t.get('on', []))}" for t in study.get("tasks", [])]
    holdout = [f"{source}: {listed(how)}" for source, how in study.get("holdout", {}).items()]
    quality = listed(study.get("quality", {}))
    parts = {
        "Model" if len(models) == 1 else "Models": "; ".join(models),
        "Task" if len(tasks) == 1 else "Tasks": "; ".join(tasks),
        "Held out": "; ".join(holdout),
        "Quality": quality,
    }
    return [(name, text) for name, text in parts.items() if text]
