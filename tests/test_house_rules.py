"""The rules of the house, held by tests: each checker is shown a fault that it must catch."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine

from app import database as db
from app import errors, models
from app.cli import app as command_line
from app.errors import Kind, Refusal
from app.logs import without_secrets
from app.models.camera import Box, Point
from app.settings import Settings
from tests.conftest import Databases

ROOT = Path(__file__).parent.parent
APP = sorted(path for path in (ROOT / "app").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NETWORK = {"httpx", "requests", "aiohttp", "urllib.request", "http.client"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(tree: ast.AST, method: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            yield node.lineno


def commits(source: str) -> list[int]:
    """Lines that commit: `.commit()`, or a transaction block opened on a bare connection or an engine."""
    tree = ast.parse(source)
    return sorted([*calls(tree, "commit"), *calls(tree, "transaction")])


# Edges of transactions: the request's edge and the two rooms that the design excepts.
MAY_COMMIT = {"app/ledger.py", "app/streams/writer.py"}


def test_domain_code_never_commits() -> None:
    found = {relative(path): commits(path.read_text()) for path in APP}
    assert {path for path, lines in found.items() if lines} == MAY_COMMIT
    assert commits("async def f(session):\n    await session.commit()\n") == [2]


def begins(source: str) -> list[int]:
    """Lines that open a transaction of their own through the database."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "begin"
        and ast.unparse(node.func.value).endswith(("database", "base"))
    ]


MAY_BEGIN = (
    "app/routers/", "app/upkeep.py", "app/cli/", "app/demo/",  # doors and composition roots
    "app/feed/live.py", "app/feed/alarms.py", "app/feed/telling.py", "app/feed/webhooks/",  # they outlive requests: short transactions
    "app/streams/grants.py",  # refusals and replays of the batch writer's callers
    "app/registry/imports/running.py",  # work that outlives the request that asked for it
    "app/streams/embedded/outages.py",  # an event of the gateway itself: there is no request
)  # fmt: skip


def test_transactions_begin_at_the_edges() -> None:
    wrong = {relative(path) for path in APP if begins(path.read_text()) and not relative(path).startswith(MAY_BEGIN)}
    assert wrong == set()
    assert begins("async with database.begin() as session: ...") == [1]


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_nobody_speaks_http_to_others() -> None:
    """Only gateways, webhooks and the log's witnesses, which the operator names; the embedded gateway has its own
    bounded reader of cameras. The demo asks its health."""
    speaking = [relative(path) for path in APP if imported(path.read_text()) & NETWORK]
    assert speaking == ["app/audit/witnesses.py", "app/demo/stage.py", "app/streams/mediamtx/api.py"]
    assert imported("import httpx") & NETWORK


def test_http_exceptions_stay_at_the_edge() -> None:
    raising = [
        relative(path)
        for path in APP
        if any(
            isinstance(node, ast.Raise) and "HTTPException" in ast.dump(node)
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert raising == ["app/routers/dependencies.py"]


STANDS_ALONE = "app/audit/verify.py"  # an outsider reads and runs this one file, without the house


def test_files_can_be_read_at_a_sitting() -> None:
    for paths, most in ((APP, 400), (TESTS, 600)):
        sizes = {relative(path): len(path.read_text().splitlines()) for path in paths}
        assert {path: size for path, size in sizes.items() if size > most and path != STANDS_ALONE} == {}


def test_the_verifier_stands_alone() -> None:
    path = next(path for path in APP if relative(path) == STANDS_ALONE)
    outside = {name.partition(".")[0] for name in imported(path.read_text())} - sys.stdlib_module_names
    assert outside == {"cryptography"}
    assert len(path.read_text().splitlines()) <= 600


def test_names_explain_themselves() -> None:
    banned = re.compile(r"(?:^|_)(utils?|helpers?|common|misc|manager|handler|service)(?:_|$)")
    assert [relative(path) for path in APP if banned.search(path.stem)] == []
    assert banned.search("camera_utils")


def refusals() -> list[type[Refusal]]:
    return [
        thing for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, Refusal) and thing is not Refusal
    ]  # fmt: skip


def test_every_refusal_has_a_code_of_its_own_and_stands_in_the_tree() -> None:
    codes = [refusal.code for refusal in refusals()]
    assert len(set(codes)) == len(codes)
    drawn = errors.__doc__ or ""
    assert [refusal.__name__ for refusal in refusals() if not re.search(rf"\b{refusal.__name__}\b", drawn)] == []
    for kind in Kind:
        assert f"{kind.status} · {kind.close_code}" in drawn


def test_every_table_is_exported() -> None:
    tables = {mapper.class_.__name__ for mapper in models.Table.registry.mappers}
    assert tables <= set(models.__all__)


async def test_the_migrations_equal_the_models(databases: Databases, empty_database_url: str) -> None:
    name = empty_database_url.rpartition("/")[2].partition("?")[0]
    engine = create_async_engine(db.driver_url(databases.url(name, owner=True)))

    ischema_names["point"], ischema_names["box"] = Point, Box

    def differences(connection: Connection) -> list[object]:
        def include(thing: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
            if not reflected or compare_to is not None:
                return True
            if kind == "foreign_key_constraint":
                return "_of_" not in thing.elements[0].target_fullname  # type: ignore[attr-defined]
            return kind != "table" or ("_of_" not in (name or "") and name != "alembic_version")

        context = MigrationContext.configure(connection, opts={"include_object": include})
        return list(compare_metadata(context, models.Table.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        await connection.exec_driver_sql("ALTER TABLE users DROP COLUMN disabled_reason")
        assert len(await connection.run_sync(differences)) == 1, "a seeded difference is seen"
        await connection.rollback()
    await engine.dispose()


README = (ROOT / "README.md").read_text()


def test_every_setting_is_documented() -> None:
    for name in Settings.model_fields:
        assert re.search(rf"^\| `GWANJE_{name.upper()}` \|", README, re.MULTILINE), (
            f"GWANJE_{name.upper()} is not in the README"
        )
    named = set(re.findall(r"^\| `GWANJE_([A-Z_]+)` \|", README, re.MULTILINE))
    assert named == {name.upper() for name in Settings.model_fields}, "the README names a setting that is none"


def test_every_command_is_documented() -> None:
    commands = [
        f"{group.name or ''} {command.name or command.callback.__name__}".strip()
        for group in command_line.registered_groups
        for command in group.typer_instance.registered_commands
    ]
    missing = [command for command in commands if f"gwanje {command}" not in README]
    assert missing == []


def test_locks_name_no_registry() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text()
        assert "http" not in text.replace("httpx", "").replace("httpcore", "").replace("httptools", "")
        assert "--index" not in text
        assert text.count("==") <= text.count("--hash=sha256:")


@pytest.mark.parametrize(
    "secret",
    [
        "rtsp://admin:hunter2@10.0.0.1/1",
        "gwj_abcdefghijklmnopqrstuvwxyz",
        "Authorization: Bearer abc.def",
        "whsec_abc+/def=",
    ],
)
def test_logs_keep_no_secret(secret: str) -> None:
    struck = without_secrets(f"connecting to {secret} failed")
    assert "hunter2" not in struck
    assert "abc" not in struck
