"""Cheaper indexes: pairs of letters without a query for each row, of derived names once a site; places in a quadtree."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# All pairs of neighbouring letters of up to three texts: those that begin at even places and those that begin at odd
# ones. Beside them stand pairs with a space or a line's end and single letters, which no search asks for; to leave them
# out would cost more than it saves. What is searched goes through `letter_pairs`, which has none of these.
LETTER_RUNS = r"""
CREATE FUNCTION letter_runs(name text, road text, lot text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    said text := lower(name);
BEGIN
    IF road NOT IN ('', name) THEN
        said := said || E'\n' || lower(road);
    END IF;
    IF lot NOT IN ('', name, road) THEN
        said := said || E'\n' || lower(lot);
    END IF;
    RETURN string_to_array(
        regexp_replace(said, '(..)', E'\\1\n', 'g') || E'\n' || regexp_replace(substr(said, 2), '(..)', E'\\1\n', 'g'),
        E'\n'
    );
END $$
"""
LETTER_PAIRS_OF_TWO = r"""
CREATE FUNCTION letter_pairs(road text, lot text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT pair), '{}') FROM (
        SELECT letter || lead(letter) OVER () AS pair
        FROM unnest(string_to_array(lower(road || ' ' || lot), NULL)) AS letters(letter)
    ) pairs WHERE pair !~ '\s'
$$
"""
# What is new waits in a list (at most so many KiB) that searches read, too; it is sorted in by autovacuum, or by whoever
# fills it: a second's work then, which is why it is not longer.
PENDING = {"gin_pending_list_limit": "32768"}


def upgrade() -> None:
    op.execute(LETTER_RUNS)
    op.add_column(
        "camera_positions", sa.Column("own_name", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.drop_index("ix_camera_positions_letters", "camera_positions")
    op.drop_index("ix_sites_letters", "sites")
    op.execute("DROP FUNCTION letter_pairs(text, text)")
    op.create_index(
        "ix_camera_positions_letters", "camera_positions", [sa.text("letter_runs(name, '', '')")],
        postgresql_using="gin", postgresql_where=sa.text("own_name"), postgresql_with=PENDING,
    )  # fmt: skip
    op.create_index(
        "ix_sites_letters", "sites", [sa.text("letter_runs(name, road_address, lot_address)")],
        postgresql_using="gin", postgresql_with=PENDING,
    )  # fmt: skip
    # A quadtree takes a point for two thirds of what an R-tree needs, and less room; boxes are found as fast.
    op.drop_index("ix_camera_positions_location", "camera_positions")
    op.create_index("ix_camera_positions_location", "camera_positions", ["location"], postgresql_using="spgist")
    # A camera that shares its site's name has a number of its own, from two digits on to be found by it.
    op.create_index(
        "ix_camera_positions_numbered", "camera_positions", ["ordinal"], postgresql_where=sa.text("ordinal >= 10")
    )


def downgrade() -> None:
    op.drop_index("ix_camera_positions_numbered", "camera_positions")
    op.drop_index("ix_camera_positions_location", "camera_positions")
    op.create_index("ix_camera_positions_location", "camera_positions", ["location"], postgresql_using="gist")
    op.drop_index("ix_sites_letters", "sites")
    op.drop_index("ix_camera_positions_letters", "camera_positions")
    op.execute(LETTER_PAIRS_OF_TWO)
    op.create_index(
        "ix_sites_letters", "sites", [sa.text("letter_pairs(road_address, lot_address)")], postgresql_using="gin"
    )
    op.create_index(
        "ix_camera_positions_letters", "camera_positions", [sa.text("letter_pairs(name)")], postgresql_using="gin"
    )
    op.drop_column("camera_positions", "own_name")
    op.execute("DROP FUNCTION letter_runs")
