"""Reviews of the access log (접속기록 점검) with their findings, and the areas in which a person has a conflict."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table


class Review(Identified, Table):
    """One check of an institution's access log: of a month, or of entries that came late."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index(
            "uq_reviews_month", "agency_id", "since", unique=True, postgresql_where=text("kind = 'monthly'")
        ),
        Index(
            "uq_reviews_late", "agency_id", unique=True, postgresql_where=text("kind = 'late' AND signed_at IS NULL")
        ),
        Index("ix_reviews_unsigned", "due_at", postgresql_where=text("signed_at IS NULL")),
        Index("ix_reviews_agency_opened", "agency_id", "opened_at"),
        CheckConstraint("until > since", name="period"),
        CheckConstraint("(signed_at IS NULL) = (signed_digest IS NULL)", name="signature"),
    )  # fmt: skip

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))  # the institution
    kind: Mapped[str]  # monthly | late
    since: Mapped[datetime]
    until: Mapped[datetime]
    seed: Mapped[bytes | None]  # of the drawn sample
    seed_source: Mapped[str] = mapped_column(server_default="")  # "checkpoint <origin> <size>" or "random"
    population: Mapped[int] = mapped_column(server_default="0")  # accesses among which was drawn
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime]
    officer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    assigned_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))  # none: by the service itself
    assigned_at: Mapped[datetime | None]
    reminders: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    reminded_at: Mapped[datetime | None]
    signed_at: Mapped[datetime | None]
    signed_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    signed_digest: Mapped[bytes | None]  # SHA-256 of the canonical document; the entry holds it, too
    signed_entry_id: Mapped[UUID | None]
    statement: Mapped[str] = mapped_column(server_default="")


class ReviewFinding(Table):
    """What a review asks about, with the numbers and entries that it rests on. What is found is never changed."""

    __tablename__ = "review_findings"

    review_id: Mapped[UUID] = mapped_column(ForeignKey("reviews.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]  # sample | late | one of the patterns
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))  # who did it
    camera_id: Mapped[UUID | None]
    numbers: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    entries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB(), server_default="[]")  # [{"id", "at"}]
    korean: Mapped[str]
    english: Mapped[str]
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())
    answer: Mapped[str] = mapped_column(server_default="")  # in_order | misuse | to_be_clarified
    words: Mapped[str] = mapped_column(server_default="")
    answered_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    answered_at: Mapped[datetime | None]


class LateEntry(Table):
    """Which late entry is looked at in which review: each in one."""

    __tablename__ = "review_late_entries"

    entry_id: Mapped[UUID] = mapped_column(primary_key=True)
    review_id: Mapped[UUID] = mapped_column(ForeignKey("reviews.id"), index=True)


class ConflictArea(Identified, Table):
    """Where a person's viewing would be a conflict of interest (이해충돌), such as around the own home, by own word."""

    __tablename__ = "conflict_areas"
    __table_args__ = (
        Index("ix_conflict_areas_agency_id", "agency_id"),
        UniqueConstraint("user_id", "area_id", "valid_from"),
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="validity"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))  # the institution that reviews it
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    reason: Mapped[str]  # home | family | workplace | other
    declared_at: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_from: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_to: Mapped[datetime | None]


class SubjectRequest(Identified, Table):
    """What a data subject asks for of its own footage (개인영상정보 열람등 요구); who asks stands apart."""

    __tablename__ = "subject_requests"
    __table_args__ = (
        UniqueConstraint("agency_id", "year", "number"),
        Index("ix_subject_requests_open", "due_at", postgresql_where=text("closed_at IS NULL")),
        Index("ix_subject_requests_agency_received", "agency_id", "received_at"),
        CheckConstraint("period_to > period_from", name="period"),
        CheckConstraint("(decision = 'refuse' OR decision = 'partial') OR refusal_ground = ''", name="ground"),
    )

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))  # the institution
    year: Mapped[int] = mapped_column(SmallInteger)
    number: Mapped[int]
    kind: Mapped[str]  # access | existence | deletion
    channel: Mapped[str]  # visit | letter | fax | email | online
    relation: Mapped[str]  # self | representative | urgent
    received_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    recorded_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    camera_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    place: Mapped[str] = mapped_column(server_default="")
    period_from: Mapped[datetime]
    period_to: Mapped[datetime]
    others_shown: Mapped[bool] = mapped_column(server_default=text("true"))  # then a copy is masked before it leaves
    proof: Mapped[str] = mapped_column(server_default="")  # how it was shown to be the own footage
    proof_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    proof_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    extended_at: Mapped[datetime | None]
    extended_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    extension_reason: Mapped[str] = mapped_column(server_default="")
    decision: Mapped[str] = mapped_column(server_default="")  # grant | partial | refuse
    refusal_ground: Mapped[str] = mapped_column(server_default="")
    decision_reason: Mapped[str] = mapped_column(server_default="")
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    masked_at: Mapped[datetime | None]
    masked_by: Mapped[str] = mapped_column(server_default="")  # a person of the agency, or a contractor
    masked_how: Mapped[str] = mapped_column(server_default="")
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    outcome: Mapped[str] = mapped_column(server_default="")  # how and in which form it was given or told
    reminders: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    reminded_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]


class SubjectRequestPerson(Table):
    """Who asked, sealed; the row goes when it is erased, the request stays."""

    __tablename__ = "subject_request_persons"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("subject_requests.id"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    algorithm: Mapped[str] = mapped_column(server_default="AES-256-GCM")
    key_id: Mapped[str]
