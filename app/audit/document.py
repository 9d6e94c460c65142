"""What is logged, as a document: `python -m app.audit.document > docs/AUDIT.md`.

The names come from `acts`; what an entry says is read off the very calls that write it, so that neither drifts.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.audit.acts import ACTS
from app.audit.verify import DROPPED, ERASING

PACKAGE = Path(__file__).parent.parent
HEADER = ("owner_agency_id", "camera_id", "area_id", "subject", "restriction")
_WRITES = re.compile(r"_?(entry|note)")  # what writes an entry is called so, in every room
_NOTE = re.compile(r"_?note")  # and what puts a room's own words to each of its entries
_NAME = re.compile(r"[a-z_]+\.[a-z_]+")
_NO_WRITERS = ("acts.py", "document.py", "verify.py")
_OF_ERASURE = {"ERASING": ERASING, "DROPPED": DROPPED}  # the verifier names them, as it must know them
_HEAD = """# What is logged

<!-- Made by `python -m app.audit.document > docs/AUDIT.md`; a test holds it equal to the code. -->

Each row is a kind of entry (`act`). Every entry has a header, which names no person and is a leaf of the tree:
`id`, `at` (the database's time), `act`, `outcome` (done, refused, failed), `agency` (whose member acted), and what the
column *header* names. `late_from` is there when it happened earlier than it could be written down.

The payload can be erased. It says who acted, as far as somebody did: `user_id`, `login`, `role`, `appointment_id`,
`agency_id`, `session_id`, `terminal_id`, `duty_id`, `address`, and what the column *payload* names. What is empty is
left out. "…": further details, by the case.

| act | 이름 | when | header | payload |
|---|---|---|---|---|
"""


@dataclass
class Call:
    """A call that writes an entry: by which name, the acts that it names, and the keywords that it says."""

    name: str
    acts: set[str]
    said: set[str] = field(default_factory=set)


def calls(source: str) -> list[Call]:
    """The calls of a module that write entries. Those that pass an act on say their keywords for all of the module."""
    tree = ast.parse(source)
    found = _calls(tree)
    passed_on = {word for call in found if not call.acts for word in call.said}
    known = {act for call in found for act in call.acts}
    rest = {text for text in _texts(tree) if text in ACTS} - known
    if passed_on:
        found += [Call("", {act}, set(passed_on)) for act in rest]
    return found


def _calls(tree: ast.AST) -> list[Call]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if _WRITES.fullmatch(name):
            acts = {text for argument in node.args for text in _texts(argument)}
            found.append(Call(name, acts, {keyword.arg or "…" for keyword in node.keywords} - {"outcome"}))
    return found


def frame(source: str) -> set[str]:
    """What a module's own `note` says of each entry, besides what its callers say."""
    notes = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _NOTE.fullmatch(node.name)
    ]
    return {word for note in notes for call in _calls(note) if not call.acts for word in call.said} - {"…"}


def _texts(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        said = one.value if isinstance(one, ast.Constant) else _OF_ERASURE.get(getattr(one, "id", ""))
        if isinstance(said, str) and _NAME.fullmatch(said):
            yield said


def written() -> dict[str, set[str]]:
    """Every act that the code writes, with the keywords of all its calls."""
    sources = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py")) if path.name not in _NO_WRITERS}
    frames: dict[Path, set[str]] = {}  # a room's `note` is for all of the room
    for path, source in sources.items():
        frames.setdefault(path.parent, set()).update(frame(source))
    found: dict[str, set[str]] = {}
    for path, source in sources.items():
        for call in calls(source):
            said = call.said | (frames[path.parent] if _NOTE.fullmatch(call.name) else set())
            for act in call.acts:
                found.setdefault(act, set()).update(said)
    return found


def markdown() -> str:
    """The whole document."""
    known = written()
    lines = []
    for name, act in ACTS.items():
        said = known.get(name, set())
        header = ", ".join(f"`{word}`" for word in HEADER if word in said)
        payload = ", ".join(f"`{word}`" for word in sorted(said - set(HEADER) - {"…"}))
        if "…" in said:
            payload = ", ".join(filter(None, (payload, "…")))
        lines.append(f"| `{name}` | {act.label} | {act.when} | {header} | {payload} |\n")
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown())
