"""What a page of HTML holds."""

import html.parser
import pathlib

VOID = {"meta", "br", "img", "input", "wbr"}


class Page(html.parser.HTMLParser):
    """What a page holds: ids, images, scripts, and text by section."""

    def __init__(self, source: str):
        super().__init__()
        self.ids: list[str] = []
        self.images: list[str] = []
        self.references: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.text: dict[str | None, str] = {}
        self.words: dict[str | None, list[str]] = {}
        self.svgs = 0
        self.open: list[str] = []
        self._section: str | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if name := found.get("id"):
            self.ids.append(name)
        self.references += [found[name] or "" for name in ("src", "href", "xlink:href", "data") if name in found]
        if tag == "img" and "src" in found:
            self.images.append(found["src"] or "")
        self.svgs += tag == "svg"
        if tag == "script":
            self.scripts.append(found)
        if tag == "section":
            self._section = found.get("id")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self._section = None

    def handle_data(self, data: str) -> None:
        self.text[self._section] = self.text.get(self._section, "") + data
        self.words.setdefault(self._section, []).extend(data.split())


def read(path: pathlib.Path) -> tuple[str, Page]:
    source = path.read_text()
    return source, Page(source)


def section(page: Page, name: str) -> str:
    """The words of a section, one space between them, cells of tables too."""
    return " ".join(page.words[name])
