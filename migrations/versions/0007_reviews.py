"""Reviews of the access log, data subjects' requests, conflict areas; indexes by which accesses are searched."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "conflict_areas",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("declared_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name=op.f("ck_conflict_areas_validity")),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_conflict_areas_agency_id_agencies")),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_conflict_areas_area_id_areas")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_conflict_areas_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict_areas")),
        sa.UniqueConstraint(
            "user_id", "area_id", "valid_from", name=op.f("uq_conflict_areas_user_id_area_id_valid_from")
        ),
    )
    op.create_index("ix_conflict_areas_agency_id", "conflict_areas", ["agency_id"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seed", sa.LargeBinary(), nullable=True),
        sa.Column("seed_source", sa.Text(), server_default="", nullable=False),
        sa.Column("population", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("officer_id", sa.Uuid(), nullable=True),
        sa.Column("assigned_by", sa.Uuid(), nullable=True),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminders", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_by", sa.Uuid(), nullable=True),
        sa.Column("signed_digest", sa.LargeBinary(), nullable=True),
        sa.Column("signed_entry_id", sa.Uuid(), nullable=True),
        sa.Column("statement", sa.Text(), server_default="", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("(signed_at IS NULL) = (signed_digest IS NULL)", name=op.f("ck_reviews_signature")),
        sa.CheckConstraint("until > since", name=op.f("ck_reviews_period")),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_reviews_agency_id_agencies")),
        sa.ForeignKeyConstraint(["assigned_by"], ["users.id"], name=op.f("fk_reviews_assigned_by_users")),
        sa.ForeignKeyConstraint(["officer_id"], ["users.id"], name=op.f("fk_reviews_officer_id_users")),
        sa.ForeignKeyConstraint(["signed_by"], ["users.id"], name=op.f("fk_reviews_signed_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_agency_opened", "reviews", ["agency_id", "opened_at"], unique=False)
    op.create_index(
        "ix_reviews_unsigned", "reviews", ["due_at"], unique=False, postgresql_where=sa.text("signed_at IS NULL")
    )
    op.create_index(
        "uq_reviews_late",
        "reviews",
        ["agency_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'late' AND signed_at IS NULL"),
    )
    op.create_index(
        "uq_reviews_month", "reviews", ["agency_id", "since"], unique=True, postgresql_where=sa.text("kind = 'monthly'")
    )
    op.create_table(
        "subject_requests",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.Column("camera_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("place", sa.Text(), server_default="", nullable=False),
        sa.Column("period_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("others_shown", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("proof", sa.Text(), server_default="", nullable=False),
        sa.Column("proof_by", sa.Uuid(), nullable=True),
        sa.Column("proof_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("extended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("extended_by", sa.Uuid(), nullable=True),
        sa.Column("extension_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("decision", sa.Text(), server_default="", nullable=False),
        sa.Column("refusal_ground", sa.Text(), server_default="", nullable=False),
        sa.Column("decision_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("masked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("masked_by", sa.Text(), server_default="", nullable=False),
        sa.Column("masked_how", sa.Text(), server_default="", nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.Column("reminders", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "(decision = 'refuse' OR decision = 'partial') OR refusal_ground = ''",
            name=op.f("ck_subject_requests_ground"),
        ),
        sa.CheckConstraint("period_to > period_from", name=op.f("ck_subject_requests_period")),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_subject_requests_agency_id_agencies")),
        sa.ForeignKeyConstraint(["closed_by"], ["users.id"], name=op.f("fk_subject_requests_closed_by_users")),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_subject_requests_decided_by_users")),
        sa.ForeignKeyConstraint(["extended_by"], ["users.id"], name=op.f("fk_subject_requests_extended_by_users")),
        sa.ForeignKeyConstraint(["proof_by"], ["users.id"], name=op.f("fk_subject_requests_proof_by_users")),
        sa.ForeignKeyConstraint(["recorded_by"], ["users.id"], name=op.f("fk_subject_requests_recorded_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subject_requests")),
        sa.UniqueConstraint("agency_id", "year", "number", name=op.f("uq_subject_requests_agency_id_year_number")),
    )
    op.create_index(
        "ix_subject_requests_agency_received", "subject_requests", ["agency_id", "received_at"], unique=False
    )
    op.create_index(
        "ix_subject_requests_open",
        "subject_requests",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "review_findings",
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("camera_id", sa.Uuid(), nullable=True),
        sa.Column("numbers", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("entries", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("korean", sa.Text(), nullable=False),
        sa.Column("english", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("answered_by", sa.Uuid(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["answered_by"], ["users.id"], name=op.f("fk_review_findings_answered_by_users")),
        sa.ForeignKeyConstraint(["review_id"], ["reviews.id"], name=op.f("fk_review_findings_review_id_reviews")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_review_findings_user_id_users")),
        sa.PrimaryKeyConstraint("review_id", "number", name=op.f("pk_review_findings")),
    )
    op.create_table(
        "review_late_entries",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["review_id"], ["reviews.id"], name=op.f("fk_review_late_entries_review_id_reviews")),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_review_late_entries")),
    )
    op.create_index(op.f("ix_review_late_entries_review_id"), "review_late_entries", ["review_id"], unique=False)
    op.create_table(
        "subject_request_persons",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("algorithm", sa.Text(), server_default="AES-256-GCM", nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["subject_requests.id"], name=op.f("fk_subject_request_persons_request_id_subject_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_subject_request_persons")),
    )
    op.create_index(
        "ix_audit_entries_late",
        "audit_entries",
        ["at"],
        unique=False,
        postgresql_where=sa.text("late_from IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_entries_refused",
        "audit_entries",
        ["at"],
        unique=False,
        postgresql_where=sa.text("act = 'grant.refused'"),
    )
    op.create_index("ix_duties_appointment_began", "duties", ["appointment_id", "began_at"], unique=False)
    op.create_index("ix_grants_agency_at", "grants", ["agency_id", "at"], unique=False)
    op.create_index(
        "ix_grants_of_incident",
        "grants",
        ["incident_id"],
        unique=False,
        postgresql_where=sa.text("incident_id IS NOT NULL"),
    )
    op.create_index("ix_grants_owner_at", "grants", ["owner_agency_id", "at"], unique=False)
    op.create_index(
        "ix_grants_refs",
        "grants",
        ["refs"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"refs": "jsonb_path_ops"},
        postgresql_where=sa.text("refs <> '[]'::jsonb"),
    )
    op.create_index("ix_views_agency_at", "views", ["agency_id", "at"], unique=False)
    op.create_index("ix_views_owner_at", "views", ["owner_agency_id", "at"], unique=False)
    op.create_index("ix_views_user_at", "views", ["user_id", "at"], unique=False)

    op.execute("GRANT SELECT, INSERT ON reviews, review_findings, review_late_entries TO gwanje_app")
    op.execute("GRANT SELECT, INSERT, UPDATE ON conflict_areas, subject_requests TO gwanje_app")
    op.execute("GRANT SELECT, INSERT, DELETE ON subject_request_persons TO gwanje_app")
    # What was drawn and found stays as it is: only what people make of it changes.
    op.execute(
        "GRANT UPDATE (officer_id, assigned_by, assigned_at, until, population, reminders, reminded_at, signed_at,"
        " signed_by, signed_digest, signed_entry_id, statement) ON reviews TO gwanje_app"
    )
    op.execute("GRANT UPDATE (answer, words, answered_by, answered_at) ON review_findings TO gwanje_app")


def downgrade() -> None:
    op.drop_index("ix_views_user_at", table_name="views")
    op.drop_index("ix_views_owner_at", table_name="views")
    op.drop_index("ix_views_agency_at", table_name="views")
    op.drop_index(
        "ix_grants_refs",
        table_name="grants",
        postgresql_using="gin",
        postgresql_ops={"refs": "jsonb_path_ops"},
        postgresql_where=sa.text("refs <> '[]'::jsonb"),
    )
    op.drop_index("ix_grants_owner_at", table_name="grants")
    op.drop_index("ix_grants_of_incident", table_name="grants", postgresql_where=sa.text("incident_id IS NOT NULL"))
    op.drop_index("ix_grants_agency_at", table_name="grants")
    op.drop_index("ix_duties_appointment_began", table_name="duties")
    op.drop_index(
        "ix_audit_entries_refused", table_name="audit_entries", postgresql_where=sa.text("act = 'grant.refused'")
    )
    op.drop_index(
        "ix_audit_entries_late", table_name="audit_entries", postgresql_where=sa.text("late_from IS NOT NULL")
    )
    op.drop_table("subject_request_persons")
    op.drop_index(op.f("ix_review_late_entries_review_id"), table_name="review_late_entries")
    op.drop_table("review_late_entries")
    op.drop_table("review_findings")
    op.drop_index(
        "ix_subject_requests_open", table_name="subject_requests", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.drop_index("ix_subject_requests_agency_received", table_name="subject_requests")
    op.drop_table("subject_requests")
    op.drop_index("uq_reviews_month", table_name="reviews", postgresql_where=sa.text("kind = 'monthly'"))
    op.drop_index(
        "uq_reviews_late", table_name="reviews", postgresql_where=sa.text("kind = 'late' AND signed_at IS NULL")
    )
    op.drop_index("ix_reviews_unsigned", table_name="reviews", postgresql_where=sa.text("signed_at IS NULL"))
    op.drop_index("ix_reviews_agency_opened", table_name="reviews")
    op.drop_table("reviews")
    op.drop_index("ix_conflict_areas_agency_id", table_name="conflict_areas")
    op.drop_table("conflict_areas")
