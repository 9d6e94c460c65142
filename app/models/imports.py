"""Imports of cities' files: what was brought, what was odd, what it changed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table

IMPORT_STATES = (
    "reading", "ready", "applying", "applied", "undoing", "undone", "cancelled", "failed",
)  # fmt: skip


class Import(Identified, Table):
    """One import of a file: what it was, who brought it, how far it has come, what was odd.

    The states `reading`, `applying` and `undoing` are work; whichever process holds the lease does it.
    """

    __tablename__ = "imports"
    __table_args__ = (
        Index("ix_imports_work", "began_at", postgresql_where=text("state IN ('reading', 'applying', 'undoing')")),
        Index("ix_imports_agency_id", "agency_id"),
    )

    agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))  # whose people may see it
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    file_name: Mapped[str]
    file_digest: Mapped[bytes]
    file_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    layout: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # mapping, owner, …: imports.order.Order
    summary: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    state: Mapped[str] = mapped_column(server_default="applied")
    progress: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # step, done, total
    preview: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # what would change
    result: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # what changed
    problem: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # why it failed, or could not be undone
    node: Mapped[str] = mapped_column(server_default="")  # where its file lies
    leased_by: Mapped[str] = mapped_column(server_default="")
    leased_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    read_at: Mapped[datetime | None]
    applied_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]


class ImportFinding(Table):
    """Something odd in a row of an imported file, in words that a person can act on; secrets already scrubbed."""

    __tablename__ = "import_findings"

    import_id: Mapped[UUID] = mapped_column(primary_key=True)  # no foreign key: a hundred thousand rows at a time
    number: Mapped[int] = mapped_column(primary_key=True)
    row_number: Mapped[int]
    severity: Mapped[str]
    code: Mapped[str]
    field: Mapped[str] = mapped_column(server_default="")
    value: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str]


class ImportChange(Table):
    """A row that an import changed, as it was before; None: the import added it to a site that stood already."""

    __tablename__ = "import_changes"

    import_id: Mapped[UUID] = mapped_column(primary_key=True)
    relation: Mapped[str] = mapped_column(primary_key=True)  # sites | camera_positions | assets
    row_id: Mapped[UUID] = mapped_column(primary_key=True)
    before: Mapped[dict[str, Any] | None]
