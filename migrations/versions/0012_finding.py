"""Finding by letters, versions of the register for tiles, areas and jurisdictions of one's own, groups of agencies."""

import sqlalchemy as sa
from alembic import op

from app.models.camera import Box

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Every two neighbouring letters of a text, spaces and case aside. Korean is written in syllables: two of them are a
# word already, for which trigrams (pg_trgm) find no entry, and which they do not see at all where the locale is C.
LETTER_PAIRS = r"""
CREATE FUNCTION letter_pairs({arguments}) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT pair), '{{}}') FROM (
        SELECT letter || lead(letter) OVER () AS pair
        FROM unnest(string_to_array(lower({said}), NULL)) AS letters(letter)
    ) pairs WHERE pair !~ '\s'
$$
"""
# One row for each transaction that changed cameras. What is visible of them names the state of the register exactly,
# also when transactions commit in another order than they began; and nobody waits for anybody's lock.
CHANGED = """
CREATE FUNCTION register_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF coalesce(current_setting('gwanje.register_changed', true), '') <> pg_current_xact_id()::text THEN
        INSERT INTO register_changes (id) VALUES (gen_random_uuid());
        PERFORM set_config('gwanje.register_changed', pg_current_xact_id()::text, true);
        DELETE FROM register_changes WHERE id IN (
            SELECT id FROM register_changes WHERE changed_at < now() - interval '10 minutes'
            LIMIT 100 FOR UPDATE SKIP LOCKED
        );
    END IF;
    RETURN NULL;
END $$
"""


def _corners(coordinates: object) -> list[tuple[float, float]]:
    if isinstance(coordinates, list) and coordinates and isinstance(coordinates[0], int | float):
        return [(coordinates[0], coordinates[1])]
    return [corner for part in coordinates if isinstance(coordinates, list) for corner in _corners(part)]


def upgrade() -> None:
    op.execute(LETTER_PAIRS.format(arguments="said text", said="said"))
    op.execute(LETTER_PAIRS.format(arguments="road text, lot text", said="road || ' ' || lot"))
    op.create_index(
        "ix_camera_positions_letters", "camera_positions", [sa.text("letter_pairs(name)")], postgresql_using="gin"
    )
    op.create_index(
        "ix_sites_letters", "sites", [sa.text("letter_pairs(road_address, lot_address)")],
        postgresql_using="gin",
    )  # fmt: skip
    op.create_table(
        "register_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_changes")),
    )
    op.execute("GRANT SELECT ON register_changes TO gwanje_app")
    op.execute(CHANGED)
    op.execute("REVOKE EXECUTE ON FUNCTION register_changed FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER register_changed AFTER INSERT OR UPDATE OR DELETE ON camera_positions"
        " FOR EACH STATEMENT EXECUTE FUNCTION register_changed()"
    )
    op.add_column("areas", sa.Column("subkind", sa.Text(), server_default="", nullable=False))
    op.add_column("areas", sa.Column("owner_agency_id", sa.Uuid(), nullable=True))
    op.add_column("areas", sa.Column("reach_metres", sa.Float(), nullable=True))
    op.add_column("areas", sa.Column("extent", Box(), nullable=True))
    op.create_foreign_key(
        op.f("fk_areas_owner_agency_id_agencies"), "areas", "agencies", ["owner_agency_id"], ["id"]
    )  # fmt: skip
    op.create_index("ix_areas_extent", "areas", ["extent"], postgresql_using="gist")
    _extents()
    op.create_table(
        "jurisdictions",
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_jurisdictions_agency_id_agencies")),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_jurisdictions_area_id_areas")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jurisdictions")),
    )
    op.create_index(
        "ix_jurisdictions_now", "jurisdictions", ["area_id", "agency_id"], unique=True,
        postgresql_where=sa.text("until IS NULL"),
    )  # fmt: skip
    op.create_index(op.f("ix_jurisdictions_agency_id"), "jurisdictions", ["agency_id"])
    op.create_table(
        "agency_groups",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), server_default="", nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_agency_groups_agency_id_agencies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agency_groups")),
        sa.UniqueConstraint("agency_id", "name", name=op.f("uq_agency_groups_agency_id_name")),
    )
    op.create_table(
        "agency_group_members",
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agency_id"], ["agencies.id"], name=op.f("fk_agency_group_members_agency_id_agencies")
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["agency_groups.id"], name=op.f("fk_agency_group_members_group_id_agency_groups")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agency_group_members")),
    )
    op.create_index(
        "ix_agency_group_members_now", "agency_group_members", ["group_id", "agency_id"], unique=True,
        postgresql_where=sa.text("until IS NULL"),
    )  # fmt: skip
    for table in ("jurisdictions", "agency_groups", "agency_group_members"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO gwanje_app")


def _extents() -> None:
    """The box around each boundary that is already known."""
    connection = op.get_bind()
    for area_id, boundary in connection.execute(
        sa.text("SELECT id, boundary FROM areas WHERE jsonb_typeof(boundary) = 'object'")
    ).all():
        corners = _corners(boundary.get("coordinates") or [])
        if corners:
            xs, ys = zip(*corners, strict=True)
            connection.execute(
                sa.text("UPDATE areas SET extent = box(point(:w, :s), point(:e, :n)) WHERE id = :id"),
                {"w": min(xs), "s": min(ys), "e": max(xs), "n": max(ys), "id": area_id},
            )


def downgrade() -> None:
    for table in ("agency_group_members", "agency_groups", "jurisdictions"):
        op.drop_table(table)
    op.drop_index("ix_areas_extent", table_name="areas")
    op.drop_constraint(op.f("fk_areas_owner_agency_id_agencies"), "areas", type_="foreignkey")
    for column in ("extent", "reach_metres", "owner_agency_id", "subkind"):
        op.drop_column("areas", column)
    op.execute("DROP TRIGGER register_changed ON camera_positions")
    op.execute("DROP FUNCTION register_changed")
    op.drop_table("register_changes")
    op.drop_index("ix_sites_letters", table_name="sites")
    op.drop_index("ix_camera_positions_letters", table_name="camera_positions")
    op.execute("DROP FUNCTION letter_pairs(text), letter_pairs(text, text)")
