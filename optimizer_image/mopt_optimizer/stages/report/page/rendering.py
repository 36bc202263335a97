"""A template as one HTML file that loads nothing. Pure: everything it shows is in its arguments."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mopt_api.metrics import metric_in_words

from . import figures

_FOLDER = Path(__file__).parent / "templates"


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bounds": figures.bounds,
        "ratio": figures.ratio,
        "size": figures.size,
        "seconds": figures.seconds,
        "ms": figures.milliseconds,
        "significant": figures.significant,
        "valued": metric_in_words,
    }
    return environment


def rendered(template: str, *, folder: Path = _FOLDER, **values: object) -> str:
    """Return a template with its values, each escaped, and the pages' style.

    Args:
        template: Its file name. It begins with head.html.jinja, which takes `title`.
        folder: Of the template, where it is not among the report's own; those it may include.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    found = _environment(folder).get_template(template)
    return found.render(**values, style=style, style_hash=digest)
