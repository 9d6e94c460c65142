"""What a service remembers as a witness (증인) of other agencies' logs: insert-only, so that it cannot forget."""

from datetime import datetime

from sqlalchemy import BigInteger, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Table


class WitnessCheckpoint(Table):
    """A checkpoint of another log that was cosigned here."""

    __tablename__ = "witness_checkpoints"

    origin: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    note: Mapped[str]
    cosignature: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class WitnessRefusal(Table):
    """A checkpoint that its log signed and that was refused here: evidence, perhaps of a split view."""

    __tablename__ = "witness_refusals"

    origin: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(primary_key=True)
    note: Mapped[str]
    old: Mapped[int] = mapped_column(BigInteger)
    proof: Mapped[list[bytes]] = mapped_column(server_default="{}")
    status: Mapped[int] = mapped_column(SmallInteger)
    reason: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
