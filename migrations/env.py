"""Runs the migrations as the owner, one process at a time (advisory lock)."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine

from app.database import driver_url
from app.models import Table
from app.models.camera import Box, Point

MIGRATION_LOCK = 0x6757_616E


ischema_names["point"] = Point
ischema_names["box"] = Box


def include_object(thing: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Partitions belong to their parent table: they are made by a function, not by the models."""
    if not reflected or compare_to is not None:
        return True
    if kind == "foreign_key_constraint":  # PostgreSQL repeats the parent's constraint for each partition
        return "_of_" not in thing.elements[0].target_fullname
    return kind != "table" or "_of_" not in (name or "")


def run(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        include_object=include_object,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    url = context.config.attributes.get("owner_url") or context.get_x_argument(as_dictionary=True)["url"]
    engine = create_async_engine(driver_url(url), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(main())
