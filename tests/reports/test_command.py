"""`gwanje report register`: the same register from the command line, withheld where it is restricted, audited."""

import asyncio
import csv
import io
import stat
from datetime import timedelta
from pathlib import Path

from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from app.cli import app
from app.errors import Malformed, NotFound
from app.settings import Settings
from tests.reports.test_publications import given
from tests.reports.town import TODAY, Town


async def command(settings: Settings, *arguments: str) -> Result:
    """What the command says, in a thread: it has an event loop of its own."""
    told = {"GWANJE_HOME": str(settings.home), "GWANJE_DATABASE_URL": settings.database_url, "COLUMNS": "200"}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=told)


async def test_a_register_is_written_with_a_reason_and_without_what_is_restricted(
    place: Town, settings: Settings, tmp_path: Path
) -> None:
    await given(place, crime="절도")
    await given(place, crime="스토킹", restriction="protected")
    async with place.database.begin() as session:
        name = await session.scalar(text("SELECT name FROM agencies WHERE id = :id"), {"id": place.district})
    file = tmp_path / "register.csv"
    days = ("--agency", name, "--from", str(TODAY - timedelta(days=40)), "--to", str(TODAY))
    done = await command(settings, "report", "register", str(file), *days, "--reason", "월간 점검")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
    assert sorted(row["구분"] for row in rows) == ["열람 제한", "제공"]
    assert "스토킹" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entry = (await place.acts("register.exported"))[0]["payload"]
    assert (entry["rows"], entry["reason"]) == (2, "월간 점검")
    assert "2/2" in done.output, "the bar came to its end"
    before = file.read_bytes()
    again = await command(settings, "report", "register", str(file), *days, "--reason", "월간 점검")
    assert isinstance(again.exception, FileExistsError)
    assert file.read_bytes() == before, "what is there is not overwritten"
    other = await command(settings, "report", "register", str(tmp_path / "a.docx"), *days, "--reason", "점검")
    assert isinstance(other.exception, Malformed)
    unknown = ("--agency", "없는 기관", *days[2:])
    refused = await command(settings, "report", "register", str(tmp_path / "b.csv"), *unknown, "--reason", "점검")
    assert isinstance(refused.exception, NotFound)
    assert list(tmp_path.iterdir()) == [file], "nothing half-written stays"
