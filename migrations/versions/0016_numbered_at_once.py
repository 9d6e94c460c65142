"""Events are numbered by the transaction that writes them, where nobody else numbers just then."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Beside `ledger_sequence`, which waits for the head's lock: who does not wait leaves what is pending to those who have
# it, as well as a backlog of more than so many. The next statement's snapshot sees every row that was committed before,
# and those of the calling statement.
NUMBER = """
CREATE FUNCTION events_number_at_once(most integer) RETURNS TABLE (id uuid, "position" bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    start bigint;
    known bytea[];
    ids uuid[];
BEGIN
    SELECT h.position, h.frontier INTO start, known
    FROM ledger_heads h WHERE h.ledger = 'events' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT array_agg(p.id ORDER BY p.urgency DESC, p.arrival) INTO ids FROM (
        SELECT e.id, e.urgency, e.arrival FROM event_pending e ORDER BY e.urgency DESC, e.arrival LIMIT most + 1
    ) p;
    IF cardinality(ids) <= most THEN
        PERFORM ledger_number('events', ids, '{}', known);
        RETURN QUERY SELECT u.id, start + u.n FROM unnest(ids) WITH ORDINALITY AS u (id, n);
    END IF;
END $$
"""


def upgrade() -> None:
    op.execute(NUMBER)
    op.execute("REVOKE EXECUTE ON FUNCTION events_number_at_once FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION events_number_at_once TO gwanje_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION events_number_at_once")
