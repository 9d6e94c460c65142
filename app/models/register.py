"""What officials owe: provisions (제공) with everything that came later, and what was made public of them."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.ids import new_id
from app.models.base import Identified, Table

PROVISION_KINDS = ("use", "provide", "access", "destroy")
FORMS = ("live", "video", "photo", "excel", "other")
MEDIA = ("", "network", "usb", "disc", "paper", "other")


class Provision(Table):
    """One version of one provision. Versions are appended, never changed; the highest one holds.

    The provision of a live view carries its grant's id: as long as nobody amends it, the grant alone tells it.
    """

    __tablename__ = "provisions"
    __table_args__ = (Index("ix_provisions_owner_agency_id_provided_at", "owner_agency_id", "provided_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))  # who wrote this version
    note: Mapped[str] = mapped_column(server_default="")  # why it was amended
    entry_id: Mapped[UUID]  # its audit entry
    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    grant_id: Mapped[UUID | None]
    provided_at: Mapped[datetime]
    kind: Mapped[str]
    out_of_purpose: Mapped[bool]  # by PIPA 18(2)
    basis: Mapped[str] = mapped_column(server_default="")
    law: Mapped[str] = mapped_column(server_default="")  # the article of another statute, in words
    document_number: Mapped[str] = mapped_column(server_default="")
    purpose: Mapped[str] = mapped_column(server_default="")
    crime: Mapped[str] = mapped_column(server_default="")  # 범죄유형
    reason: Mapped[str] = mapped_column(server_default="")
    camera_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    place: Mapped[str] = mapped_column(server_default="")
    recorded_from: Mapped[datetime | None]
    recorded_to: Mapped[datetime | None]
    file_name: Mapped[str] = mapped_column(server_default="")
    form: Mapped[str]
    medium: Mapped[str] = mapped_column(server_default="")
    items: Mapped[str] = mapped_column(server_default="")  # which personal data it shows
    pledged: Mapped[bool | None]  # 보안서약
    requester: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # agency, rank, name, contact
    recipient: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    kept_until: Mapped[date | None]
    destroy_due: Mapped[date | None]
    destroyed_on: Mapped[date | None]
    destruction: Mapped[str] = mapped_column(server_default="")
    safety_asked: Mapped[str] = mapped_column(server_default="")  # PIPA 18(5)
    safety_result: Mapped[str] = mapped_column(server_default="")
    arrest: Mapped[bool | None]
    in_charge: Mapped[str] = mapped_column(server_default="")
    witness: Mapped[str] = mapped_column(server_default="")  # 관리책임자 또는 입회자 확인
    approvals: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")  # 결재: office, name, on
    exercise: Mapped[bool] = mapped_column(server_default=text("false"))
    restriction: Mapped[str] = mapped_column(server_default="")


class Publication(Identified, Table):
    """What an agency made public under PIPA 18(4), as it stood on that day."""

    __tablename__ = "publications"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    entry_id: Mapped[UUID]
    since: Mapped[date]
    until: Mapped[date]  # the last day
    shown_until: Mapped[date]
    place: Mapped[str] = mapped_column(server_default="")  # where it is posted
    lines: Mapped[list[dict[str, Any]]]


class PublishedProvision(Table):
    """Which provisions a publication tells of; each is published once."""

    __tablename__ = "published_provisions"

    provision_id: Mapped[UUID] = mapped_column(primary_key=True)
    # The provisions are taken first, and the publication is written with what was taken.
    publication_id: Mapped[UUID] = mapped_column(
        ForeignKey("publications.id", deferrable=True, initially="DEFERRED"), index=True
    )
