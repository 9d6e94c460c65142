"""Erasures (파기) of what audit entries say: ordered by one officer, decided by another; then files are rewritten."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table


class ErasureOrder(Identified, Table):
    """A documented order to erase the contents of certain entries; insert-only: what is decided is what was asked."""

    __tablename__ = "erasure_orders"
    __table_args__ = (CheckConstraint("cardinality(indexes) BETWEEN 1 AND 20000", name="some"),)

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)  # the institution
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    appointment_id: Mapped[UUID] = mapped_column(ForeignKey("appointments.id"))
    basis: Mapped[str]  # the statute
    document_number: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    selection: Mapped[dict[str, Any]]  # as it was asked for
    indexes: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # of the entries, in the tree, ascending
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ErasureDecision(Table):
    """What the second officer said of an order; insert-only, once."""

    __tablename__ = "erasure_decisions"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("erasure_orders.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    appointment_id: Mapped[UUID] = mapped_column(ForeignKey("appointments.id"))
    approved: Mapped[bool]
    note: Mapped[str] = mapped_column(server_default="")
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AuditRewrite(Table):
    """A partition whose file still holds what was erased, until it was rewritten after that."""

    __tablename__ = "audit_rewrites"

    partition: Mapped[str] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(server_default=func.now())
    rewritten_at: Mapped[datetime | None]
