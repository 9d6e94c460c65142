"""The audit tree's stored nodes, for proofs by a handful of queries; events are numbered in one call."""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

AT_ONCE = 65_536

# As `ledger.sequence` does it, for a ledger without a tree: the lock in a statement of its own, so that the next one's
# snapshot (READ COMMITTED, a volatile function) sees every row that was committed before.
SEQUENCE = """
CREATE FUNCTION ledger_sequence(which text, most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known bytea[];
    ids uuid[];
BEGIN
    SELECT h.frontier INTO STRICT known FROM ledger_heads h WHERE h.ledger = which FOR UPDATE;
    IF which <> 'events' THEN
        RAISE EXCEPTION 'ledger % has a tree', which;
    END IF;
    SELECT array_agg(p.id ORDER BY p.urgency DESC, p.arrival) INTO ids FROM (
        SELECT id, urgency, arrival FROM event_pending ORDER BY urgency DESC, arrival LIMIT most
    ) p;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM ledger_number(which, ids, '{}', known);
    RETURN cardinality(ids);
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_audit_nodes")),
    )
    op.execute("GRANT SELECT, INSERT ON audit_nodes TO gwanje_app")
    op.execute(SEQUENCE)
    op.execute("REVOKE EXECUTE ON FUNCTION ledger_sequence FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION ledger_sequence TO gwanje_app")
    _fill()


def _fill() -> None:
    """What the log has grown so far; as the tree does it (RFC 9162), written down here since migrations stand alone."""
    connection = op.get_bind()
    roots: list[bytes] = []
    size = 0
    while True:
        rows = connection.execute(
            sa.text("SELECT leaf_hash FROM audit_leaves WHERE position > :after ORDER BY position LIMIT :most"),
            {"after": size, "most": AT_ONCE},
        ).all()
        nodes = []
        for (node,) in rows:
            rest, level, grown = size, 0, node
            while rest & 1:
                grown = sha256(b"\x01" + roots.pop() + grown).digest()
                rest, level = rest >> 1, level + 1
                if level % 8 == 0:
                    nodes.append({"level": level, "index": size >> level, "hash": grown})
            roots.append(grown)
            size += 1
        if nodes:
            connection.execute(sa.text("INSERT INTO audit_nodes VALUES (:level, :index, :hash)"), nodes)
        if len(rows) < AT_ONCE:
            return


def downgrade() -> None:
    op.execute("DROP FUNCTION ledger_sequence")
    op.drop_table("audit_nodes")
