"""Title and sections of a document in Markdown or HTML; what is no text is left out."""

import re
from html.parser import HTMLParser
from typing import NamedTuple


class Section(NamedTuple):
    """A heading ("" where there is none) and what stands below it, up to the next one."""

    heading: str
    text: str


_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:\s*(.+?)\s*$", re.MULTILINE)
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-+)\s*$")
_INLINE = [
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),  # a picture's description
    (re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),  # a link's text
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"(\*{1,3}|__|`+)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
]


def sections_of_markdown(text: str) -> tuple[str, list[Section]]:
    """(title, sections): the title is that of the front matter, else a heading of the first level at the beginning."""
    title, body = "", text
    if front := _FRONT_MATTER.match(text):
        body = text[front.end() :]
        named = _TITLE.search(front[1])
        title = named[1].strip("'\"") if named else ""
    sections = _sections(_parts_of_markdown(body.splitlines()))
    if not title and sections and sections[0].heading and body.lstrip().startswith(("# ", sections[0].heading)):
        title, sections = sections[0].heading, [Section("", sections[0].text), *sections[1:]]
    return title, [section for section in sections if section.heading or section.text]


def _parts_of_markdown(lines: list[str]) -> list[tuple[bool, str]]:
    """(is a heading, text) line by line."""
    found: list[tuple[bool, str]] = []
    fence = ""
    for line in lines:
        if opened := _FENCE.match(line):
            fence = "" if fence == opened[1] else fence or opened[1]
        elif fence:
            found.append((False, line))
        elif heading := _HEADING.match(line):
            found.append((True, _plain(heading[2])))
        elif _UNDERLINE.match(line) and found and found[-1][1].strip() and not found[-1][0]:
            found[-1] = (True, found[-1][1].strip())
        else:
            found.append((False, _plain(line)))
    return found


def _plain(line: str) -> str:
    for pattern, kept in _INLINE:
        line = pattern.sub(kept, line)
    return line


def _sections(parts: list[tuple[bool, str]]) -> list[Section]:
    """Lines below one another, gathered under the heading before them."""
    headings, texts = [""], [[""]]
    for is_heading, text in parts:
        if is_heading:
            headings.append(" ".join(text.split()))
            texts.append([])
        else:
            texts[-1].append(text)
    found = [Section(head, "\n".join(lines).strip()) for head, lines in zip(headings, texts, strict=True)]
    return [section for section in found if section.heading or section.text]


_BLOCKS = set(
    "address article aside blockquote br caption dd div dl dt fieldset figcaption figure footer form header hr li main "
    "nav ol option p pre section table tbody td tfoot th thead tr ul".split()
)
_HEADINGS = {f"h{level}" for level in range(1, 7)}
_NO_TEXT = {"script", "style", "template", "noscript", "svg"}


class _Page(HTMLParser):
    """Gathers a page's title, headings and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.parts: list[tuple[bool, str]] = []
        self._kept, self._inside, self._hidden = "", "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _NO_TEXT:
            self._hidden += 1
        elif tag in _HEADINGS or tag == "title":
            self.flush()
            self._inside = tag
        elif tag in _BLOCKS:
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        if tag in _NO_TEXT:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _HEADINGS or tag in _BLOCKS or tag == "title":
            self.flush()
            self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._kept += data

    def flush(self) -> None:
        """End a block of text."""
        text, self._kept = " ".join(self._kept.split()), ""
        if self._inside == "title":
            self.title = self.title or text
        elif text:
            self.parts.append((self._inside in _HEADINGS, text))


def sections_of_html(text: str) -> tuple[str, list[Section]]:
    """(title, sections): the title is the page's, else its first heading."""
    page = _Page()
    page.feed(text)
    page.close()
    page.flush()
    sections = _sections(page.parts)
    title = page.title or next((section.heading for section in sections if section.heading), "")
    return title, [Section("" if s.heading == title else s.heading, s.text) for s in sections]
