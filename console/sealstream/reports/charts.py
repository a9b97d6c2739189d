"""Bars by day as an SVG that stands inside an HTML page: text stays text, nothing is fetched, ids are the page's own.

The numbers behind a chart are always in a table or a question beside it; a chart is `role="img"` with its title read
aloud. The same values give the same bytes.
"""

from __future__ import annotations

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from sealstream.reports.figures import Series

__all__ = ["bars"]

# Told apart in grey print as well, the darkest for what matters most.
_COLOURS = {"success": "#9db8cf", "failure": "#d99a2b", "denied": "#a3202a"}
_OTHER = ("#45688a", "#7f8f9c", "#b9c4cc")
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def bars(series: Series, name: str) -> str:
    """An `<svg>` element of stacked bars, one a day; `name` makes its ids unlike those of the page's other charts."""
    style = {
        "svg.fonttype": "none",  # text that can be searched, read aloud and copied
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
    }
    with rc_context(style):
        canvas = Canvas(figsize=(8.6, 2.5), layout="constrained")
        axes = canvas.subplots()
        below = [0] * len(series.days)
        others = iter(_OTHER * (len(series.values) + 1))
        places = range(1, len(series.days) + 1)
        for label, values in series.values.items():
            axes.bar(places, values, bottom=below, width=0.8, label=label, color=_COLOURS.get(label) or next(others))
            below = [low + value for low, value in zip(below, values, strict=True)]
        axes.set_xticks(places, [str(day.day) for day in series.days])
        axes.set_xlim(0.3, len(places) + 0.7)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
        axes.set_ylim(bottom=0, top=max(1, max(below, default=0)) * 1.05)
        axes.tick_params(length=0, labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
        axes.set_axisbelow(True)
        if len(series.values) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=len(series.values), frameon=False, fontsize=8)
        drawn = io.StringIO()
        canvas.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = _IDS.sub(lambda found: f"{found[1]}{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_attribute(series.title)}"', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
