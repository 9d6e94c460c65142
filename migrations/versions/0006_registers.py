"""Registers: provisions in versions, and what was made public of them; insert-only for the application's role."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OURS = "provisions, publications, published_provisions"


def text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def upgrade() -> None:
    op.create_table(
        "provisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        text("note"),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=True),
        sa.Column("provided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("out_of_purpose", sa.Boolean(), nullable=False),
        *(text(name) for name in ("basis", "law", "document_number", "purpose", "crime", "reason")),
        sa.Column("camera_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        text("place"),
        sa.Column("recorded_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_to", sa.DateTime(timezone=True), nullable=True),
        text("file_name"),
        sa.Column("form", sa.Text(), nullable=False),
        text("medium"),
        text("items"),
        sa.Column("pledged", sa.Boolean(), nullable=True),
        sa.Column("requester", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("recipient", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("kept_until", sa.Date(), nullable=True),
        sa.Column("destroy_due", sa.Date(), nullable=True),
        sa.Column("destroyed_on", sa.Date(), nullable=True),
        *(text(name) for name in ("destruction", "safety_asked", "safety_result")),
        sa.Column("arrest", sa.Boolean(), nullable=True),
        text("in_charge"),
        text("witness"),
        sa.Column("approvals", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("exercise", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        text("restriction"),
        sa.ForeignKeyConstraint(
            ["owner_agency_id"], ["agencies.id"], name=op.f("fk_provisions_owner_agency_id_agencies")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_provisions_user_id_users")),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_provisions")),
    )
    op.create_index("ix_provisions_owner_agency_id_provided_at", "provisions", ["owner_agency_id", "provided_at"])
    op.create_table(
        "publications",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=False),
        sa.Column("shown_until", sa.Date(), nullable=False),
        text("place"),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_publications_agency_id_agencies")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_publications_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publications")),
    )
    op.create_index(op.f("ix_publications_agency_id"), "publications", ["agency_id"])
    op.create_table(
        "published_provisions",
        sa.Column("provision_id", sa.Uuid(), nullable=False),
        sa.Column("publication_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["publication_id"], ["publications.id"], name=op.f("fk_published_provisions_publication_id_publications"),
            deferrable=True, initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("provision_id", name=op.f("pk_published_provisions")),
    )  # fmt: skip
    op.create_index(op.f("ix_published_provisions_publication_id"), "published_provisions", ["publication_id"])
    # What was written down stays readable: no update, no deletion. Default privileges may have given more.
    op.execute(f"REVOKE ALL ON {OURS} FROM gwanje_app")
    op.execute(f"GRANT SELECT, INSERT ON {OURS} TO gwanje_app")


def downgrade() -> None:
    op.drop_table("published_provisions")
    op.drop_table("publications")
    op.drop_table("provisions")
