"""Ordered logs: rows are appended without a position, then sequenced. Two ledgers: events (the rows: event.py), audit.

Entries, leaves, positions and heads are insert-only or untouchable for the application's role; the functions of the
migration, held by the owner, are the only way to number, and to erase.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Identity, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.ids import new_id
from app.models.base import Table


class LedgerHead(Table):
    """Where a ledger ends. Whoever holds this row's lock is the sequencer."""

    __tablename__ = "ledger_heads"

    ledger: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)  # random; another one means that the log was restored or remade
    position: Mapped[int] = mapped_column(BigInteger, server_default="0")
    frontier: Mapped[list[bytes]] = mapped_column(server_default="{}")  # roots of the Merkle tree's full subtrees
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventPending(Table):
    """Appended, not yet numbered."""

    __tablename__ = "event_pending"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    urgency: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    arrival: Mapped[int] = mapped_column(BigInteger, Identity(always=True))


class EventPosition(Table):
    """The order of events: gapless from 1."""

    __tablename__ = "event_positions"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(unique=True)
    at: Mapped[datetime]


class AuditEntry(Table):
    """Who did what. The columns hold no person; the payload does, and can be erased while every proof still holds."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_at", "at", postgresql_using="brin"),
        Index("ix_audit_entries_camera_id_at", "camera_id", "at"),
        Index("ix_audit_entries_agency_id_at", "agency_id", "at"),
        Index("ix_audit_entries_user", text("(payload ->> 'user_id')"), "at"),
        Index("ix_audit_entries_refused", "at", postgresql_where=text("act = 'grant.refused'")),
        Index("ix_audit_entries_late", "at", postgresql_where=text("late_from IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    act: Mapped[str]
    outcome: Mapped[str]
    agency_id: Mapped[UUID | None]  # whose member acted
    owner_agency_id: Mapped[UUID | None]  # whose thing it was
    camera_id: Mapped[UUID | None]
    area_id: Mapped[UUID | None]
    subject_kind: Mapped[str] = mapped_column(server_default="")
    subject_id: Mapped[UUID | None]
    restriction: Mapped[str] = mapped_column(server_default="")
    late_from: Mapped[datetime | None]
    digest: Mapped[bytes]  # SHA-256(salt || payload)
    payload: Mapped[Any | None] = mapped_column(
        JSON(none_as_null=True)
    )  # json, not jsonb: the very text that was hashed
    salt: Mapped[bytes | None]


class AuditPending(Table):
    """Appended, not yet a leaf."""

    __tablename__ = "audit_pending"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    urgency: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    arrival: Mapped[int] = mapped_column(BigInteger, Identity(always=True))


class AuditLeaf(Table):
    """The order of entries and their leaves in the Merkle tree (position 1 is leaf index 0)."""

    __tablename__ = "audit_leaves"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(unique=True)
    at: Mapped[datetime]
    leaf_hash: Mapped[bytes]


class AuditNode(Table):
    """The root of a perfect subtree of 256, 65,536, … leaves of the Merkle tree, for proofs by a handful of queries."""

    __tablename__ = "audit_nodes"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)  # 8, 16, 24, …
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class AuditCheckpoint(Table):
    """A signed checkpoint (서명 체크포인트) of the tree, with the cosignatures of witnesses."""

    __tablename__ = "audit_checkpoints"

    origin: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    root: Mapped[bytes]
    note: Mapped[str]
    algorithm: Mapped[str]
    key_id: Mapped[str]
    cosignatures: Mapped[str] = mapped_column(server_default="")
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Telling(Table):
    """How far into the audit log something has been told as events."""

    __tablename__ = "tellings"

    topic: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)


class LateRecord(Table):
    """A record of a local spool that was imported: each counts once, whoever imports it again."""

    __tablename__ = "late_records"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    spool_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
