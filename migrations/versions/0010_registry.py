"""The register's whole life: imports as jobs that can be undone, assets with their life, outages; references by set."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

AGENCIES = ("controller", "manager", "monitoring", "owner", "processor")

# A foreign key asks for each row and each column; an import writes a hundred thousand rows of eight. These ask once a
# statement, for its rows together. `(SELECT …) IS NULL` and not NOT EXISTS: the latter becomes a join that may read all
# sites to look for one. What is referred to is never deleted under a reference: agencies by nobody, sites and assets
# only where the triggers on them find none.
REFERENCES = """
CREATE FUNCTION refer_or_refuse(relation text, found boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF found THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = format('a row of %s names something that is not there', relation);
    END IF;
END $$;

CREATE FUNCTION positions_refer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refer_or_refuse('camera_positions',
        EXISTS (SELECT FROM fresh f WHERE (SELECT s.id FROM sites s WHERE s.id = f.site_id) IS NULL)
        OR EXISTS (SELECT FROM (
            SELECT DISTINCT unnest(ARRAY[owner_agency_id, controller_agency_id, manager_agency_id,
                monitoring_agency_id, processor_agency_id]) AS id FROM (SELECT DISTINCT owner_agency_id,
                controller_agency_id, manager_agency_id, monitoring_agency_id, processor_agency_id FROM fresh) d
        ) a WHERE a.id IS NOT NULL AND (SELECT g.id FROM agencies g WHERE g.id = a.id) IS NULL)
        OR EXISTS (SELECT FROM fresh f WHERE f.replaces_id IS NOT NULL
            AND (SELECT p.id FROM camera_positions p WHERE p.id = f.replaces_id) IS NULL)
        OR EXISTS (SELECT FROM fresh f WHERE f.pole_id IS NOT NULL
            AND (SELECT p.id FROM assets p WHERE p.id = f.pole_id) IS NULL));
    RETURN NULL;
END $$;

CREATE FUNCTION sites_refer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refer_or_refuse('sites',
        EXISTS (SELECT FROM (SELECT DISTINCT owner_agency_id AS id FROM fresh) a
            WHERE (SELECT g.id FROM agencies g WHERE g.id = a.id) IS NULL)
        OR EXISTS (SELECT FROM (SELECT DISTINCT import_id AS id FROM fresh WHERE import_id IS NOT NULL) i
            WHERE (SELECT m.id FROM imports m WHERE m.id = i.id) IS NULL));
    RETURN NULL;
END $$;

CREATE FUNCTION sites_referred_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refer_or_refuse('camera_positions',
        EXISTS (SELECT FROM gone o WHERE (SELECT p.id FROM camera_positions p WHERE p.site_id = o.id LIMIT 1) IS NOT NULL));
    RETURN NULL;
END $$;

CREATE FUNCTION positions_referred_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refer_or_refuse('camera_positions',
        EXISTS (SELECT FROM gone o
            WHERE (SELECT p.id FROM camera_positions p WHERE p.replaces_id = o.id LIMIT 1) IS NOT NULL));
    RETURN NULL;
END $$;

CREATE FUNCTION agencies_referred_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refer_or_refuse('sites or camera_positions',
        EXISTS (SELECT FROM gone o, camera_positions p WHERE o.id IN (p.owner_agency_id, p.controller_agency_id,
            p.manager_agency_id, p.monitoring_agency_id, p.processor_agency_id))
        OR EXISTS (SELECT FROM gone o, sites s WHERE s.owner_agency_id = o.id));
    RETURN NULL;
END $$;
"""
# (table, what happens to it, the function that looks)
TRIGGERS = (
    ("camera_positions", "INSERT", "positions_refer"),
    ("camera_positions", "UPDATE", "positions_refer"),
    ("camera_positions", "DELETE", "positions_referred_to"),
    ("sites", "INSERT", "sites_refer"),
    ("sites", "UPDATE", "sites_refer"),
    ("sites", "DELETE", "sites_referred_to"),
    ("agencies", "DELETE", "agencies_referred_to"),
)

TEXT = {"server_default": "", "nullable": False}


def upgrade() -> None:
    _imports()
    _assets()
    _cameras()
    for agency in AGENCIES:
        op.drop_constraint(f"fk_camera_positions_{agency}_agency_id_agencies", "camera_positions", type_="foreignkey")
    op.drop_constraint("fk_camera_positions_replaces_id_camera_positions", "camera_positions", type_="foreignkey")
    op.drop_constraint("fk_camera_positions_site_id_sites", "camera_positions", type_="foreignkey")
    op.drop_constraint("fk_sites_owner_agency_id_agencies", "sites", type_="foreignkey")
    op.drop_constraint("fk_sites_import_id_imports", "sites", type_="foreignkey")
    op.drop_constraint("fk_import_findings_import_id_imports", "import_findings", type_="foreignkey")
    for function in REFERENCES.split("\n\n"):
        op.execute(function)
    for table, act, function in TRIGGERS:
        rows = "OLD TABLE AS gone" if act == "DELETE" else "NEW TABLE AS fresh"
        op.execute(
            f"CREATE TRIGGER {function}_{act.lower()} AFTER {act} ON {table}"
            f" REFERENCING {rows} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def _imports() -> None:
    for column in (
        sa.Column("file_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("options", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), server_default="applied", nullable=False),
        sa.Column("progress", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("preview", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("result", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("problem", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("node", sa.Text(), **TEXT),
        sa.Column("leased_by", sa.Text(), **TEXT),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("imports", column)
    op.create_index(
        "ix_imports_work", "imports", ["began_at"],
        postgresql_where=sa.text("state IN ('reading', 'applying', 'undoing')"),
    )  # fmt: skip
    op.create_index("ix_imports_agency_id", "imports", ["agency_id"])
    op.create_table(
        "import_changes",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("import_id", "relation", "row_id", name=op.f("pk_import_changes")),
    )
    op.execute("GRANT SELECT, INSERT, DELETE ON import_changes TO gwanje_app")


def _assets() -> None:
    for column in (
        sa.Column("quantity", sa.Integer(), server_default="1", nullable=False),
        sa.Column("camera_link", sa.Text(), **TEXT),
        sa.Column("manager_name", sa.Text(), **TEXT),
        sa.Column("phone", sa.Text(), **TEXT),
        sa.Column("data_date", sa.Date(), nullable=True),
        sa.Column("programme", sa.Text(), **TEXT),
        sa.Column("programme_year", sa.Integer(), nullable=True),
        sa.Column("replaces_id", sa.Uuid(), nullable=True),
        sa.Column("import_id", sa.Uuid(), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("assets", column)
    op.create_foreign_key("fk_assets_replaces_id_assets", "assets", "assets", ["replaces_id"], ["id"])
    op.create_index("ix_assets_parent_id", "assets", ["parent_id"], postgresql_where=sa.text("parent_id IS NOT NULL"))
    op.create_index("ix_assets_import_id", "assets", ["import_id"], postgresql_where=sa.text("import_id IS NOT NULL"))
    op.execute("UPDATE assets SET camera_link = 'declared' WHERE camera_ids <> '{}'")
    op.execute("GRANT DELETE ON assets TO gwanje_app")  # what an import brought, when it is undone
    op.create_table(
        "life_changes",
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=False),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("on_date", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("import_id", sa.Uuid(), nullable=True),
        sa.Column("ticket", sa.Text(), **TEXT),
        sa.Column("note", sa.Text(), **TEXT),
        sa.Column("cause_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_life_changes_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_life_changes")),
    )
    op.create_index("ix_life_changes_subject", "life_changes", ["subject_id", "recorded_at"])
    op.create_table(
        "outages",
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), **TEXT),
        sa.Column("reason", sa.Text(), **TEXT),
        sa.Column("starts_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_outages_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outages")),
    )
    op.create_index("ix_outages_subject_id", "outages", ["subject_id"])
    op.execute("GRANT SELECT, INSERT ON life_changes TO gwanje_app")  # what happened stays as it was told
    op.execute("GRANT SELECT, INSERT, UPDATE ON outages TO gwanje_app")


def _cameras() -> None:
    op.drop_index("ix_sites_import_id", "sites")  # asked for only when an import is undone; paid for at each row
    op.add_column(
        "sites", sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )
    for column in (
        sa.Column("indoor", sa.Text(), **TEXT),
        sa.Column("certificates", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("operator", sa.Text(), **TEXT),
        sa.Column("sign_contact", sa.Text(), **TEXT),
        sa.Column("opinion_contact", sa.Text(), **TEXT),
        sa.Column("programme_year", sa.Integer(), nullable=True),
        sa.Column("pole_id", sa.Uuid(), nullable=True),
    ):
        op.add_column("camera_positions", column)
    for name in ("replaces_id", "pole_id"):
        op.create_index(
            f"ix_camera_positions_{name}", "camera_positions", [name], postgresql_where=sa.text(f"{name} IS NOT NULL")
        )


def downgrade() -> None:
    for table, act, function in TRIGGERS:
        op.execute(f"DROP TRIGGER {function}_{act.lower()} ON {table}")
    for function in (*dict.fromkeys(function for _, _, function in TRIGGERS), "refer_or_refuse"):
        op.execute(f"DROP FUNCTION {function}")
    op.create_foreign_key(
        "fk_import_findings_import_id_imports", "import_findings", "imports", ["import_id"], ["id"]
    )  # fmt: skip
    op.create_foreign_key("fk_sites_import_id_imports", "sites", "imports", ["import_id"], ["id"])
    op.create_foreign_key("fk_sites_owner_agency_id_agencies", "sites", "agencies", ["owner_agency_id"], ["id"])
    op.create_foreign_key("fk_camera_positions_site_id_sites", "camera_positions", "sites", ["site_id"], ["id"])
    op.create_foreign_key(
        "fk_camera_positions_replaces_id_camera_positions", "camera_positions", "camera_positions",
        ["replaces_id"], ["id"],
    )  # fmt: skip
    for agency in AGENCIES:
        name = f"{agency}_agency_id"
        op.create_foreign_key(f"fk_camera_positions_{name}_agencies", "camera_positions", "agencies", [name], ["id"])
    for name in ("pole_id", "replaces_id"):
        op.drop_index(f"ix_camera_positions_{name}", "camera_positions")
    for name in ("pole_id", "programme_year", "opinion_contact", "sign_contact", "operator", "certificates", "indoor"):
        op.drop_column("camera_positions", name)
    op.create_index("ix_sites_import_id", "sites", ["import_id"])
    op.drop_column("sites", "changed_at")
    op.drop_table("outages")
    op.drop_table("life_changes")
    op.execute("REVOKE DELETE ON assets FROM gwanje_app")
    op.drop_index("ix_assets_import_id", "assets")
    op.drop_index("ix_assets_parent_id", "assets")
    op.drop_constraint("fk_assets_replaces_id_assets", "assets", type_="foreignkey")
    for name in (
        "retired_at", "import_id", "replaces_id", "programme_year", "programme", "data_date", "phone", "manager_name",
        "camera_link", "quantity",
    ):  # fmt: skip
        op.drop_column("assets", name)
    op.drop_table("import_changes")
    op.drop_index("ix_imports_agency_id", "imports")
    op.drop_index("ix_imports_work", "imports")
    for name in (
        "read_at", "attempts", "leased_until", "leased_by", "node", "problem", "result", "preview", "progress", "state",
        "options", "file_bytes",
    ):  # fmt: skip
        op.drop_column("imports", name)
