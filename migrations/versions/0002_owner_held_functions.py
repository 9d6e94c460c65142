"""What only the owner may do: partitions, numbering, erasure; and what the application's role may do."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PARTITIONED = ("audit_entries", "events", "grants", "views")  # parents before children: dropped in reverse
INSERT_ONLY = (
    "audit_entries",
    "audit_pending",
    "audit_checkpoints",
    "events",
    "event_keys",
    "event_pending",
    "event_verdicts",
)
READ_ONLY = ("ledger_heads", "audit_leaves", "event_positions", "alembic_version")
DELETABLE = (
    "tickets",
    "login_paces",
    "known_addresses",
    "idempotency_keys",
    "nodes",
    "sites",
    "camera_positions",
    "devices",
    "stream_sources",
    "import_findings",
)

FUNCTIONS = """
CREATE FUNCTION make_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    month date;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('gwanje.make_partitions'));
    FOREACH parent IN ARRAY ARRAY['audit_entries', 'events', 'grants', 'views'] LOOP
        FOR ahead IN 0..least(greatest(months_ahead, 0), 24) LOOP
            month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead))::date;
            IF to_regclass(format('%I', parent || '_of_' || to_char(month, 'YYYYMM'))) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || '_of_' || to_char(month, 'YYYYMM'), parent,
                    month::text || ' 00:00+00', (month + interval '1 month')::date::text || ' 00:00+00');
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- The head's lock is taken in a statement of its own: what is read afterwards sees all that committed before.
CREATE FUNCTION ledger_lock(which text) RETURNS TABLE (epoch bigint, head bigint, frontier bytea[])
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT h.epoch, h.position, h.frontier FROM ledger_heads h WHERE h.ledger = which FOR UPDATE;
$$;

-- Gives the named pending rows the next positions, in the order of the array, and announces the batch once.
CREATE FUNCTION ledger_number(which text, ids uuid[], leaves bytea[], new_frontier bytea[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    start bigint;
    numbered integer;
BEGIN
    SELECT h.position INTO STRICT start FROM ledger_heads h WHERE h.ledger = which FOR UPDATE;
    IF which = 'events' THEN
        WITH taken AS (
            DELETE FROM event_pending p USING unnest(ids) WITH ORDINALITY AS u (id, n)
            WHERE p.id = u.id RETURNING p.id, p.at, u.n
        )
        INSERT INTO event_positions (position, id, at) SELECT start + n, id, at FROM taken;
    ELSIF which = 'audit' THEN
        WITH taken AS (
            DELETE FROM audit_pending p USING unnest(ids, leaves) WITH ORDINALITY AS u (id, leaf, n)
            WHERE p.id = u.id RETURNING p.id, p.at, u.n, u.leaf
        )
        INSERT INTO audit_leaves (position, id, at, leaf_hash) SELECT start + n, id, at, leaf FROM taken;
    ELSE
        RAISE EXCEPTION 'there is no ledger %', which;
    END IF;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    IF numbered <> cardinality(ids) THEN
        RAISE EXCEPTION 'ledger %: % of % rows were pending', which, numbered, cardinality(ids);
    END IF;
    UPDATE ledger_heads SET position = start + numbered, frontier = new_frontier, changed_at = now() WHERE ledger = which;
    PERFORM pg_notify('gwanje', 'ledger ' || which || ' ' || (start + numbered));
    RETURN start + numbered;
END $$;

-- Removes what an entry says about persons; its header, digest and leaf stay, so every proof still holds.
CREATE FUNCTION audit_erase(entry uuid, entry_at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE audit_entries SET payload = NULL, salt = NULL WHERE id = entry AND at = entry_at AND payload IS NOT NULL;
    RETURN FOUND;
END $$;
"""


def upgrade() -> None:
    for table in PARTITIONED:
        op.execute(f"CREATE TABLE {table}_of_rest PARTITION OF {table} DEFAULT")
    for function in FUNCTIONS.strip().split("\n\n"):
        op.execute(function)
    op.execute("SELECT make_partitions(3)")
    op.execute(
        "INSERT INTO ledger_heads (ledger, epoch) SELECT name, ('x' || left(md5(gen_random_uuid()::text), 16))::bit(64)::bigint"
        " FROM unnest(ARRAY['events', 'audit']) AS name"
    )
    op.execute(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gwanje_app') THEN CREATE ROLE gwanje_app NOLOGIN; GRANT gwanje_app TO CURRENT_USER; END IF; END $$"
    )
    op.execute("GRANT USAGE ON SCHEMA public TO gwanje_app")
    op.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO gwanje_app")
    op.execute(f"REVOKE UPDATE ON {', '.join(INSERT_ONLY)} FROM gwanje_app")
    op.execute(f"REVOKE INSERT, UPDATE ON {', '.join(READ_ONLY)} FROM gwanje_app")
    op.execute(f"GRANT DELETE ON {', '.join(DELETABLE)} TO gwanje_app")
    # A partition is reached through its parent only, whose rights are the narrower ones.
    op.execute(
        "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT inhrelid FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r' LOOP"
        " EXECUTE format('REVOKE ALL ON %s FROM gwanje_app', t); END LOOP; END $$"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION make_partitions, ledger_lock, ledger_number, audit_erase FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION make_partitions, ledger_lock, ledger_number TO gwanje_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION audit_erase, ledger_number, ledger_lock, make_partitions")
    for table in reversed(PARTITIONED):
        op.execute(f"DROP TABLE {table}_of_rest")
