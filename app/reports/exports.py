"""A register as a file: streamed through one cursor into one file, in memory that does not grow, and audited.

Who takes a register away says why (the safety standard of PIPA 29 has downloads' reasons confirmed); the entry says how
many rows it had and its SHA-256, so that a file that turns up somewhere can be told to be this one.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from typing import IO, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.hours import KOREA
from app.actor import Actor
from app.audit import entries
from app.clock import now
from app.database import parts
from app.errors import Malformed
from app.reports import remit
from app.reports.forms import Heading
from app.reports.lines import Lines
from app.reports.pages import Pages
from app.reports.registers import REGISTERS, Register
from app.reports.sheets import Sheets

AT_ONCE = 1000  # rows between two looks at the rest of the world
STATEMENT = "10min"  # a year's register is sorted first: that takes longer than a request may
WRITERS: dict[str, Callable[..., Sheets | Lines | Pages]] = {"xlsx": Sheets, "csv": Lines, "html": Pages}
LEAST_REASON, MOST_REASON = 2, 300

Progress = Callable[[int, int], None]
"""Told (rows written, rows in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which register is wanted: for which agency and days, how it is written, and why."""

    register: str
    first: date
    last: date
    format: str
    reason: str
    agency_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What was written; `name` is a file name for it."""

    rows: int
    digest: str
    name: str


def check(order: Order) -> tuple[Register, remit.Period]:
    """Refuse an order that cannot be understood, before anything is asked of the database."""
    if order.register not in REGISTERS:
        raise Malformed(f"register is one of: {', '.join(REGISTERS)}", field="register")
    if order.format not in WRITERS:
        raise Malformed(f"format is one of: {', '.join(WRITERS)}", field="format")
    reason = order.reason.strip()
    if not LEAST_REASON <= len(reason) <= MOST_REASON or not reason.isprintable():
        raise Malformed("reason is required: why the register is taken out, in a few words", field="reason")
    return REGISTERS[order.register], remit.period(order.first, order.last)


async def write(
    session: AsyncSession, actor: Actor | None, order: Order, file: IO[bytes], *, progress: Progress | None = None
) -> Written:
    """Write a register into a file that can be read back, with its entry in the same transaction.

    None is whoever runs the servers, to whom restricted rows are withheld. Raises Malformed, NotPermitted, NotFound,
    TooLarge.
    """
    register, period = check(order)
    agency = await remit.agency_of(session, actor, order.agency_id, remit.READ)
    await session.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT}'"))
    binds = {"agency_id": agency.id, "since": period.since, "until": period.until}
    total = await _count(session, register, binds) if progress is not None else 0
    heading = Heading(
        agency.name, f"{period.first} ~ {period.last}", f"출력 {now().astimezone(KOREA):%Y-%m-%d %H:%M:%S}"
    )  # fmt: skip
    writer = await asyncio.to_thread(WRITERS[order.format], file, register.form, heading)
    reader, rows = remit.reader_of(actor, agency), 0

    def put(part: Any, after: int) -> None:
        writer.write(
            register.line(row, number, full=reader.knows(row.restriction, row.acted_for))
            for number, row in enumerate(part, after + 1)
        )

    async with aclosing(parts(session, register.query, binds, AT_ONCE)) as found:
        async for part in found:
            await asyncio.to_thread(put, part, rows)
            rows += len(part)
            if progress is not None:
                progress(rows, max(rows, total))
    if progress is not None:
        progress(rows, rows)
    digest = await asyncio.to_thread(_finish, writer, file)
    await entries.append(
        session,
        entries.entry(
            actor, "register.exported", owner_agency_id=agency.id, subject=("agency", agency.id),
            register=order.register, since=period.first, until=period.last, format=order.format, rows=rows,
            sha256=digest, reason=order.reason.strip(),
        ),
    )  # fmt: skip
    title = register.form.title.replace(" ", "_")
    return Written(rows, digest, f"{title}_{agency.name}_{period.first}_{period.last}.{order.format}")


async def _count(session: AsyncSession, register: Register, binds: dict[str, Any]) -> int:
    """How many rows there will be, or a few more, for a bar that knows its end."""
    return int(await session.scalar(text(register.total), binds) or 0)


def _finish(writer: Sheets | Lines | Pages, file: IO[bytes]) -> str:
    writer.close()
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
