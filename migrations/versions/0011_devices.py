"""Cameras as devices: where they are spoken with, who turns them, which of them cannot be reached."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

OURS = "camera_controls, ptz_heads, ptz_leases, camera_reaches, reach_shards, losses, loss_members"


def upgrade() -> None:
    op.create_table(
        "camera_controls",
        sa.Column("camera_id", sa.Uuid(), nullable=False),
        sa.Column("address_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("services", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("profile", sa.Text(), server_default="", nullable=False),
        sa.Column("home_preset", sa.Text(), server_default="", nullable=False),
        sa.Column("listens", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("bell_id", sa.Uuid(), nullable=True),
        sa.Column("leased_by", sa.Text(), server_default="", nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["bell_id"], ["assets.id"], name=op.f("fk_camera_controls_bell_id_assets")),
        sa.ForeignKeyConstraint(
            ["camera_id"], ["camera_positions.id"], name=op.f("fk_camera_controls_camera_id_camera_positions")
        ),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_camera_controls")),
    )
    op.create_index(
        "ix_camera_controls_listens",
        "camera_controls",
        ["camera_id"],
        unique=False,
        postgresql_where=sa.text("listens"),
    )
    op.create_table(
        "ptz_heads",
        sa.Column("camera_id", sa.Uuid(), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_id", sa.Uuid(), nullable=True),
        sa.Column("moving_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("home_after", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["camera_id"], ["camera_positions.id"], name=op.f("fk_ptz_heads_camera_id_camera_positions")
        ),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_ptz_heads")),
    )
    op.create_index(
        "ix_ptz_heads_home_after",
        "ptz_heads",
        ["home_after"],
        unique=False,
        postgresql_where=sa.text("home_after IS NOT NULL"),
    )
    op.create_index(
        "ix_ptz_heads_moving_until",
        "ptz_heads",
        ["moving_until"],
        unique=False,
        postgresql_where=sa.text("moving_until IS NOT NULL"),
    )
    op.create_table(
        "ptz_leases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("camera_id", sa.Uuid(), nullable=False),
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("grant_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("urgency", sa.SmallInteger(), nullable=False),
        sa.Column("opened_entry_id", sa.Uuid(), nullable=False),
        sa.Column("closed_entry_id", sa.Uuid(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moves", sa.Integer(), server_default="0", nullable=False),
        sa.Column("presets", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("extent", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cause", sa.Text(), server_default="", nullable=False),
        sa.Column("preempted_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_ptz_leases_agency_id_agencies")),
        sa.ForeignKeyConstraint(
            ["camera_id"], ["camera_positions.id"], name=op.f("fk_ptz_leases_camera_id_camera_positions")
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_ptz_leases_session_id_sessions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_ptz_leases_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ptz_leases")),
    )
    op.create_index("ix_ptz_leases_camera_id_opened_at", "ptz_leases", ["camera_id", "opened_at"], unique=False)
    op.create_index(
        "ix_ptz_leases_open", "ptz_leases", ["camera_id"], unique=True, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_table(
        "camera_reaches",
        sa.Column("camera_id", sa.Uuid(), nullable=False),
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("told_lost", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("network", sa.Text(), server_default="", nullable=False),
        sa.Column("made_faulty", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("loss_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["camera_id"], ["camera_positions.id"], name=op.f("fk_camera_reaches_camera_id_camera_positions")
        ),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_camera_reaches")),
    )
    op.create_index(
        "ix_camera_reaches_untold",
        "camera_reaches",
        ["since"],
        unique=False,
        postgresql_where=sa.text("lost <> told_lost"),
    )
    op.create_table(
        "reach_shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("leased_by", sa.Text(), server_default="", nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_reach_shards")),
    )
    op.create_table(
        "losses",
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("network", sa.Text(), server_default="", nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("back_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["owner_agency_id"], ["agencies.id"], name=op.f("fk_losses_owner_agency_id_agencies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_losses")),
    )
    op.create_index("ix_losses_owner_agency_id_told_at", "losses", ["owner_agency_id", "told_at"], unique=False)
    op.create_table(
        "loss_members",
        sa.Column("loss_id", sa.Uuid(), nullable=False),
        sa.Column("camera_id", sa.Uuid(), nullable=False),
        sa.Column("lost_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("restored_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["camera_id"], ["camera_positions.id"], name=op.f("fk_loss_members_camera_id_camera_positions")
        ),
        sa.ForeignKeyConstraint(["loss_id"], ["losses.id"], name=op.f("fk_loss_members_loss_id_losses")),
        sa.PrimaryKeyConstraint("loss_id", "camera_id", name=op.f("pk_loss_members")),
    )
    op.create_index("ix_loss_members_camera_id", "loss_members", ["camera_id"], unique=False)
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {OURS} TO gwanje_app")
    op.execute("GRANT DELETE ON camera_controls TO gwanje_app")
    op.execute("INSERT INTO reach_shards (shard) SELECT generate_series(0, 15)")


def downgrade() -> None:
    for table in reversed(OURS.split(", ")):
        op.drop_table(table)
