"""Live viewing: gateways, urgency and pre-emption, approvals, walls and their showings, agreements with hours."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Hours of an agreement, in Korean time: {"days": [1..7, Monday first], "from": "22:00", "to": "06:00"}. A window that
# ends before it begins goes over midnight and belongs to the day on which it began; equal ends mean the whole day.
AGREEMENT_OPEN = """
CREATE FUNCTION agreement_open(hours jsonb, moment timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp AS $$
DECLARE
    there timestamp := moment AT TIME ZONE 'Asia/Seoul';
    clock time := there::time;
    begins time := coalesce(hours ->> 'from', '00:00')::time;
    ends time := coalesce(hours ->> 'to', '00:00')::time;
    today jsonb := to_jsonb(extract(isodow FROM there)::int);
    yesterday jsonb := to_jsonb(extract(isodow FROM there - interval '1 day')::int);
    days jsonb := coalesce(hours -> 'days', '[1, 2, 3, 4, 5, 6, 7]'::jsonb);
BEGIN
    IF hours IS NULL THEN
        RETURN true;
    ELSIF begins < ends THEN
        RETURN days @> today AND clock >= begins AND clock < ends;
    ELSIF begins = ends THEN
        RETURN days @> today;
    END IF;
    RETURN (days @> today AND clock >= begins) OR (days @> yesterday AND clock < ends);
END $$
"""


def upgrade() -> None:
    op.create_table(
        "gateways",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), server_default="default", nullable=False),
        sa.Column("public_urls", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("capacity_viewers", sa.Integer(), nullable=False),
        sa.Column("capacity_cameras", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ok", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("word", sa.Text(), server_default="", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gateways")),
    )
    op.create_table(
        "approvals",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("agreement_id", sa.Uuid(), nullable=False),
        sa.Column("camera_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("use_purpose", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("refs", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("asked_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("decision_note", sa.Text(), server_default="", nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_approvals_agency_id_agencies")),
        sa.ForeignKeyConstraint(["agreement_id"], ["agreements.id"], name=op.f("fk_approvals_agreement_id_agreements")),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_approvals_decided_by_users")),
        sa.ForeignKeyConstraint(
            ["owner_agency_id"], ["agencies.id"], name=op.f("fk_approvals_owner_agency_id_agencies")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_approvals_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_asked", "approvals", ["agency_id", "asked_at"], unique=False)
    op.create_index(
        "ix_approvals_pending",
        "approvals",
        ["owner_agency_id", "asked_at"],
        unique=False,
        postgresql_where=sa.text("decided_at IS NULL"),
    )
    op.create_table(
        "showings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("grant_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duty_id", sa.Uuid(), nullable=False),
        sa.Column("terminal_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("owner_agency_id", sa.Uuid(), nullable=False),
        sa.Column("camera_id", sa.Uuid(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), server_default="main", nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), server_default="", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cause", sa.Text(), server_default="", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["duty_id"], ["duties.id"], name=op.f("fk_showings_duty_id_duties")),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.id"], name=op.f("fk_showings_terminal_id_terminals")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_showings")),
    )
    op.create_index("ix_showings_began_at", "showings", ["began_at"], unique=False)
    op.create_index("ix_showings_camera_id", "showings", ["camera_id"], unique=False)
    op.create_index(
        "ix_showings_open", "showings", ["node"], unique=False, postgresql_where=sa.text("ended_at IS NULL")
    )
    op.add_column("grants", sa.Column("event_id", sa.Uuid(), nullable=True))
    op.add_column("grants", sa.Column("urgency", sa.SmallInteger(), server_default="3", nullable=False))
    op.add_column("grants", sa.Column("approval_id", sa.Uuid(), nullable=True))
    op.add_column("grants", sa.Column("tour_id", sa.Uuid(), nullable=True))
    op.add_column("grants", sa.Column("manifested", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index(
        "ix_grants_incident",
        "grants",
        ["incident_id"],
        unique=False,
        postgresql_where=sa.text("revoked_at IS NULL AND incident_id IS NOT NULL"),
    )
    op.create_foreign_key(op.f("fk_grants_tour_id_tours"), "grants", "tours", ["tour_id"], ["id"])
    op.create_foreign_key(op.f("fk_grants_approval_id_approvals"), "grants", "approvals", ["approval_id"], ["id"])
    op.add_column("manifest_cameras", sa.Column("seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("manifests", sa.Column("entry_id", sa.Uuid(), nullable=False))
    op.alter_column(
        "manifests",
        "sealed_at",
        existing_type=postgresql.TIMESTAMP(timezone=True),
        nullable=False,
        server_default=sa.text("now()"),
    )
    op.create_unique_constraint(op.f("uq_manifests_duty_id_hour"), "manifests", ["duty_id", "hour"])
    op.add_column("stream_sources", sa.Column("kbps", sa.Integer(), nullable=True))
    op.add_column("views", sa.Column("session_ref", sa.Text(), server_default="", nullable=False))
    op.add_column("views", sa.Column("urgency", sa.SmallInteger(), server_default="3", nullable=False))
    op.add_column("views", sa.Column("protected", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("views", sa.Column("preempted_by", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_views_open_agency", "views", ["agency_id"], unique=False, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index(
        "ix_views_open_camera", "views", ["camera_id"], unique=False, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index(
        "ix_views_open_gateway", "views", ["gateway"], unique=False, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index(
        "ix_views_open_user", "views", ["user_id"], unique=False, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.execute(AGREEMENT_OPEN)
    op.execute("GRANT SELECT, INSERT, UPDATE ON gateways, approvals, showings TO gwanje_app")
    op.execute("GRANT DELETE ON gateways, showings TO gwanje_app")
    op.execute("REVOKE UPDATE ON manifests, manifest_cameras, tours FROM gwanje_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION agreement_open")
    op.execute("GRANT UPDATE ON manifests, manifest_cameras, tours TO gwanje_app")
    op.drop_index("ix_views_open_user", table_name="views", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_index("ix_views_open_gateway", table_name="views", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_index("ix_views_open_camera", table_name="views", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_index("ix_views_open_agency", table_name="views", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_column("views", "preempted_by")
    op.drop_column("views", "protected")
    op.drop_column("views", "urgency")
    op.drop_column("views", "session_ref")
    op.drop_column("stream_sources", "kbps")
    op.drop_constraint(op.f("uq_manifests_duty_id_hour"), "manifests", type_="unique")
    op.alter_column("manifests", "sealed_at", existing_type=postgresql.TIMESTAMP(timezone=True), nullable=True)
    op.drop_column("manifests", "entry_id")
    op.drop_column("manifest_cameras", "seconds")
    op.drop_constraint(op.f("fk_grants_approval_id_approvals"), "grants", type_="foreignkey")
    op.drop_constraint(op.f("fk_grants_tour_id_tours"), "grants", type_="foreignkey")
    op.drop_index(
        "ix_grants_incident",
        table_name="grants",
        postgresql_where=sa.text("revoked_at IS NULL AND incident_id IS NOT NULL"),
    )
    op.drop_column("grants", "manifested")
    op.drop_column("grants", "tour_id")
    op.drop_column("grants", "approval_id")
    op.drop_column("grants", "urgency")
    op.drop_column("grants", "event_id")
    op.drop_index("ix_showings_open", table_name="showings", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_index("ix_showings_camera_id", table_name="showings")
    op.drop_index("ix_showings_began_at", table_name="showings")
    op.drop_table("showings")
    op.drop_index("ix_approvals_pending", table_name="approvals", postgresql_where=sa.text("decided_at IS NULL"))
    op.drop_index("ix_approvals_asked", table_name="approvals")
    op.drop_table("approvals")
    op.drop_table("gateways")
