"""A page as a browser sees it."""

from html.parser import HTMLParser

EMPTY = ("area", "br", "hr", "img", "input", "link", "meta")


class Page(HTMLParser):
    """The tags with their attributes, checked for closing in order, and the text of each."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def of(self, tag: str) -> list[str]:
        """Return the texts in tags of this name."""
        return [text for name, text in self.texts if name == tag]

    def labels(self, tag: str) -> list[str]:
        """Return what tags of this name say to those who can't see them."""
        return [a["aria-label"] or "" for name, a in self.tags if name == tag and "aria-label" in a]

    @property
    def text(self) -> str:
        """All text but styles and scripts."""
        return " ".join(text for tag, text in self.texts if tag not in ("style", "script"))
