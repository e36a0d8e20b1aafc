"""The frame of a page: one HTML file that loads nothing, and runs no script but its own."""

import base64
import hashlib
import importlib.resources
import string
from collections.abc import Callable, Mapping

from seatbelt_jax.plots.text import escape

_SCRIPTS = ("slider.js", "tables.js", "gallery.js")


def page(
    sections: Mapping[str, tuple[str, Callable[[], str]]],
    *,
    title: str,
    heading: str,
    key: str,
    introduction: str,
    command: str,
) -> str:
    """The page.

    Args:
      sections: by their ids, each a title and what makes its HTML.
      title: of the window; this and `command` are plain text, the others HTML.
      heading, key: at the top.
      introduction: the name of a file beside this one.
      command: what was typed to make the page, for its foot.
    """
    script = "".join(f"{{\n{_resource(name)}}}\n" for name in _SCRIPTS)
    return string.Template(_resource("page.html")).substitute(
        title=escape(title),
        heading=heading,
        style=_resource("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        key=key,
        introduction=_resource(introduction),
        navigation="".join(f'<a href="#{name}">{words}</a>' for name, (words, _) in sections.items()),
        sections="".join(
            f'<section id="{name}"><h2>{words}</h2>{content()}</section>' for name, (words, content) in sections.items()
        ),
        command=escape(command),
    )


def _resource(name: str) -> str:
    return (importlib.resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
