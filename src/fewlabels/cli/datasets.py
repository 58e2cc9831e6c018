"""`fewlabels datasets`: list the data sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from fewlabels.cli.answer import Answer, answers
from fewlabels.cli.app import app, screen, tell
from fewlabels.cli.options import SOURCE_HELP, Json

_ROOM = 60


@app.command()
@answers
def datasets(as_json: Json = False) -> Answer:
    """List the data sets known by name, and what else SOURCE may be.

    **Example**: `fewlabels datasets`
    """
    from fewlabels.data import list_datasets

    known = list_datasets()
    return Answer(lambda: {"datasets": [asdict(one) for one in known]}, lambda: _show(known))


def _show(datasets: Any) -> None:
    table = Table(title="data sets")
    table.add_column("name", overflow="fold", min_width=max(len(known.name) for known in datasets))
    # On a narrow screen the names stay, and how to get them.
    has_room = screen.width >= _ROOM
    for heading in ("what", "size", "how to get it") if has_room else ("how to get it",):
        table.add_column(heading, overflow="fold")
    for known in datasets:
        table.add_row(known.name, *([known.description, known.size] if has_room else []), known.how)
    screen.print(table)
    tell(f"SOURCE may also be: {SOURCE_HELP[0].lower()}{SOURCE_HELP[1:]}")
