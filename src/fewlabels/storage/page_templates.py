"""HTML templates of a package: what is put in is escaped, and what is missing is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_templates(package: str, shown: Callable[[Any], Any], **filters: Callable[..., Any]) -> Environment:
    """Return the templates in a package's folder `templates`.

    They are compiled when they are first asked for, which takes up to half a second: keep what is returned.

    Parameters
    ----------
    package : str
        Name of the package.
    shown : callable
        Is given each value before it is put in.
    **filters
        What templates may call beside Jinja's own.

    Examples
    --------
    >>> page_templates("fewlabels.report", str).from_string("<b>{{ name }}</b>").render(name="<script>")
    '<b>&lt;script&gt;</b>'
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment
