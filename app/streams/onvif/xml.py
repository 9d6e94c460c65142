"""XML as cameras send it: read within bounds, by local names, without document types or entities.

Prefixes are cut off instead of resolved, since cameras are on the market that use prefixes which they never declare.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

MOST_ELEMENTS, MOST_DEPTH, MOST_ATTRIBUTES = 20_000, 40, 50
MOST_TEXT = 4096  # characters of one element's text


class BadXml(ValueError):  # noqa: N818 - it says what came
    """What came is not XML, or more of it than a camera has reason to send."""


@dataclass(slots=True)
class Element:
    """An element with its local name, attributes by local names, and its own text."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> Iterator["Element"]:
        """Every element of this name below this one, however deep, in document order."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.all(name)

    def find(self, *path: str) -> "Element | None":
        """The first element along a path of names, each anywhere below the one before."""
        found: Element | None = self
        for name in path:
            found = next(found.all(name), None) if found is not None else None
        return found

    def said(self, *path: str) -> str:
        """The text of the first element along a path, or an empty text."""
        found = self.find(*path)
        return found.text.strip() if found is not None else ""


def read(data: bytes) -> Element:
    """The root of a document. Raises BadXml."""
    root = Element("")
    open_ones, count = [root], 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS or len(open_ones) > MOST_DEPTH or len(attributes) > MOST_ATTRIBUTES:
            raise BadXml("it sends more elements than any answer has")
        local = {_local(key): value[:MOST_TEXT] for key, value in attributes.items()}
        made = Element(_local(name), local)
        open_ones[-1].children.append(made)
        open_ones.append(made)

    def end(_: str) -> None:
        open_ones.pop()

    def characters(text: str) -> None:
        if len(open_ones[-1].text) < MOST_TEXT:
            open_ones[-1].text += text[:MOST_TEXT]

    def refuse(*_: Any) -> None:
        raise BadXml("it declares a document type, which no answer of a camera needs")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadXml(f"it sends no XML: {expat.errors.messages.get(error.code, 'unknown error')}") from None
    except (ValueError, LookupError) as error:
        raise error if isinstance(error, BadXml) else BadXml("it sends XML in an unknown encoding") from None
    return root


def element(name: str, *content: str, **attributes: object) -> str:
    """XML of one element; `content` is XML already, attributes are escaped."""
    written = "".join(f' {key}="{escape(str(value), {chr(34): "&quot;"})}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(content)}</{name.partition(' ')[0]}>"


def text(value: object) -> str:
    """A value as XML text."""
    return escape(str(value))


def _local(name: str) -> str:
    return name.rpartition(":")[2]
