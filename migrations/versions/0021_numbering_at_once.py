"""A lone event is numbered by one statement: half of what the numbering took was beginning its statements."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE OR REPLACE FUNCTION events_number_at_once(most integer) RETURNS TABLE (id uuid, "position" bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    start bigint;
    {variables}
BEGIN
    SELECT h.position{more} INTO start{into} FROM ledger_heads h WHERE h.ledger = 'events' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
{numbering}
END $$
"""
# The lock of the head is held, so nobody else takes what is pending; each statement sees what was committed before it.
NOW = FUNCTION.format(
    variables="waiting integer;",
    more="",
    into="",
    numbering="""
    SELECT count(*) INTO waiting FROM (SELECT FROM event_pending LIMIT most + 1) AS pending;
    IF waiting BETWEEN 1 AND most THEN
        RETURN QUERY WITH taken AS (
            DELETE FROM event_pending p RETURNING p.id, p.at, p.urgency, p.arrival
        ), placed AS (
            INSERT INTO event_positions AS e (position, id, at)
            SELECT start + row_number() OVER (ORDER BY t.urgency DESC, t.arrival), t.id, t.at FROM taken t
            RETURNING e.id, e.position
        ), moved AS (
            UPDATE ledger_heads h SET position = (SELECT max(p.position) FROM placed p), changed_at = now()
            WHERE h.ledger = 'events' RETURNING pg_notify('gwanje', 'ledger events ' || h.position)
        )
        SELECT p.id, p.position FROM placed p;
    END IF;""",
)
BEFORE = FUNCTION.format(
    variables="known bytea[];\n    ids uuid[];",
    more=", h.frontier",
    into=", known",
    numbering="""
    SELECT array_agg(p.id ORDER BY p.urgency DESC, p.arrival) INTO ids FROM (
        SELECT e.id, e.urgency, e.arrival FROM event_pending e ORDER BY e.urgency DESC, e.arrival LIMIT most + 1
    ) p;
    IF cardinality(ids) <= most THEN
        PERFORM ledger_number('events', ids, '{}', known);
        RETURN QUERY SELECT u.id, start + u.n FROM unnest(ids) WITH ORDINALITY AS u (id, n);
    END IF;""",
)


def upgrade() -> None:
    op.execute(NOW)


def downgrade() -> None:
    op.execute(BEFORE)
