"""Event feeds: alarms and their clock, conditions that last, events about events, who reports what, webhooks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OURS = "alarms, conditions, event_sources, webhooks, webhook_dead_letters"


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminders", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_alarms")),
    )
    op.create_index(
        "ix_alarms_due_at", "alarms", ["due_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index(op.f("ix_alarms_owner_agency_id"), "alarms", ["owner_agency_id"], unique=False)
    op.create_table(
        "conditions",
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lasts", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("family", "subject", name=op.f("pk_conditions")),
    )
    op.create_index(
        "ix_conditions_lasting", "conditions", ["event_at"], unique=False, postgresql_where=sa.text("lasts")
    )
    op.create_table(
        "event_sources",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("subject_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("area_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_event_sources_agency_id_agencies")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_event_sources_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_sources")),
        sa.UniqueConstraint("agency_id", "name", name=op.f("uq_event_sources_agency_id_name")),
    )
    op.create_index(op.f("ix_event_sources_user_id"), "event_sources", ["user_id"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("appointment_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("area_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("min_severity", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column("last_delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Text(), server_default="", nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_because", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_webhooks_agency_id_agencies")),
        sa.ForeignKeyConstraint(
            ["appointment_id"], ["appointments.id"], name=op.f("fk_webhooks_appointment_id_appointments")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_webhooks_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_agency_id"), "webhooks", ["agency_id"], unique=False)
    op.create_index(
        "ix_webhooks_next_at",
        "webhooks",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL AND paused_because = ''"),
    )
    op.create_table(
        "webhook_dead_letters",
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_dead_letters_webhook_id_webhooks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_dead_letters")),
        sa.UniqueConstraint("webhook_id", "position", name=op.f("uq_webhook_dead_letters_webhook_id_position")),
    )
    op.add_column("events", sa.Column("regards_id", sa.Uuid(), nullable=True))
    op.add_column("events", sa.Column("regards_kind", sa.Text(), server_default="", nullable=False))
    op.create_index(
        "ix_events_regards_id",
        "events",
        ["regards_id"],
        unique=False,
        postgresql_where=sa.text("regards_id IS NOT NULL"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {OURS} TO gwanje_app")


def downgrade() -> None:
    op.drop_index("ix_events_regards_id", table_name="events", postgresql_where=sa.text("regards_id IS NOT NULL"))
    op.drop_column("events", "regards_kind")
    op.drop_column("events", "regards_id")
    op.drop_table("webhook_dead_letters")
    op.drop_index(
        "ix_webhooks_next_at",
        table_name="webhooks",
        postgresql_where=sa.text("ended_at IS NULL AND paused_because = ''"),
    )
    op.drop_index(op.f("ix_webhooks_agency_id"), table_name="webhooks")
    op.drop_table("webhooks")
    op.drop_index(op.f("ix_event_sources_user_id"), table_name="event_sources")
    op.drop_table("event_sources")
    op.drop_index("ix_conditions_lasting", table_name="conditions", postgresql_where=sa.text("lasts"))
    op.drop_table("conditions")
    op.drop_index(op.f("ix_alarms_owner_agency_id"), table_name="alarms")
    op.drop_index("ix_alarms_due_at", table_name="alarms", postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_table("alarms")
