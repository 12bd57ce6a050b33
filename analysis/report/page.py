"""The HTML: a frame, our style and script, plotly.js, and the content.  Nothing in it is fetched from anywhere.

Content -> page -> one string
"""

from __future__ import annotations

import html
from functools import cache
from importlib.resources import files

from monosweep.analysis.report.content import Content
from monosweep.analysis.report.encode import compressed


def page(content: Content) -> str:
    """The whole page.

    plotly.js (4.8 MB) and the content are compressed; a browser since 2023 unpacks them.  All text of users is in the
    content, where it cannot end a script, but for the title, which is escaped.
    """
    here = files(__package__)
    parts = {
        "TITLE": html.escape(content.title),
        "STYLE": (here / "report.css").read_text(encoding="utf-8"),
        "SCRIPT": (here / "report.js").read_text(encoding="utf-8"),
        "PLOTLY": _plotly(),
        "CONTENT": content.data,
    }
    frame = (here / "report.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        frame = frame.replace(f"<!--{name}-->", text, 1)
    return frame


@cache
def _plotly() -> str:
    """The same for every page, also of those that are renewed."""
    from plotly.offline import get_plotlyjs  # late: 0.2 s

    return compressed(get_plotlyjs().encode())
