"""Results as HTML below a notebook's cell: plain tables that light and dark notebooks color themselves."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from fewlabels.storage.visible import visible

_MOST_ROWS = 20


def text(value: Any) -> str:
    """Return a value as HTML text: names from anywhere show what is in them, and run nothing.

    Examples
    --------
    >>> text("<b>cat</b>"), text(0.25), text(None), text(1234)
    ('&lt;b&gt;cat&lt;/b&gt;', '0.250', '', '1,234')
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return html.escape(visible(str(value)))


def table(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> str:
    """Return rows as a table, numbers to the right; of many, the first ones and how many there are.

    Parameters
    ----------
    rows : sequence of mapping
        All with the same keys, the headings.
    title : str
        Stands above.

    Examples
    --------
    >>> "12</td>" in table([{"part": "test", "images": 12}])
    True
    """
    if not rows:
        return ""
    caption = f'<caption style="text-align: left">{text(title)}</caption>' if title else ""
    left, right = 'style="text-align: left"', 'style="text-align: right; font-variant-numeric: tabular-nums"'
    first = rows[0]
    sides = {name: right if all(_is_figure(row[name]) for row in rows) else left for name in first}
    head = "".join(f"<th {sides[name]}>{text(name)}</th>" for name in first)
    body = "".join(
        "<tr>" + "".join(f"<td {sides[name]}>{text(row[name])}</td>" for name in first) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = "" if len(rows) <= _MOST_ROWS else f"<p>… and {len(rows) - _MOST_ROWS:,} more rows</p>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _is_figure(value: Any) -> bool:
    return text(value).replace(",", "").replace(".", "").isdigit() or text(value) == ""


def sentences(lines: Sequence[str]) -> str:
    """Return sentences as a list; nothing of none.

    Examples
    --------
    >>> sentences(["no leak was found"])
    '<ul><li>no leak was found</li></ul>'
    """
    return "<ul>" + "".join(f"<li>{text(line.strip())}</li>" for line in lines) + "</ul>" if lines else ""
