"""Witnesses and what they cosigned; erasure by order of two officers and by age; dropping of periods."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

FUNCTIONS = r"""
-- Adds a witness's cosignature to a checkpoint, once; nothing that stands there is changed.
CREATE FUNCTION audit_cosign(which text, at_size bigint, line text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF line !~ '^— [^\s+]+ [A-Za-z0-9+/]+=*\n$' OR length(line) > 8000 THEN
        RAISE EXCEPTION 'a cosignature is one signature line';
    END IF;
    UPDATE audit_checkpoints SET cosignatures = cosignatures || line WHERE origin = which AND size = at_size
        AND length(cosignatures) < 100000
        AND position(E'\n— ' || split_part(line, ' ', 2) || ' ' IN E'\n' || cosignatures) = 0;
    RETURN FOUND;
END $$;

-- The indexes that an audit entry names in its ranges, if it is in the log or about to be: what says nothing erases
-- nothing.
CREATE FUNCTION audit_told(said uuid, what text) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    ranges json;
BEGIN
    SELECT e.payload -> 'ranges' INTO ranges FROM audit_entries e WHERE e.id = said AND e.act = what AND (
        EXISTS (SELECT FROM audit_pending p WHERE p.id = e.id) OR EXISTS (SELECT FROM audit_leaves l WHERE l.id = e.id)
    );
    IF ranges IS NULL THEN
        RAISE EXCEPTION 'no entry % says what is erased', what USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN ARRAY(SELECT unnest(ARRAY[(r ->> 0)::bigint, (r ->> 1)::bigint]) FROM json_array_elements(ranges) r);
END $$;

-- Erases what two officers ordered: another decided than asked, of the same institution, both in office, neither
-- appointed by the other; and an entry says so. Returns how many entries lost their contents.
CREATE FUNCTION audit_erase_by_order(which uuid, said uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    asked erasure_orders;
    decided erasure_decisions;
    told bigint[];
    erased integer;
BEGIN
    SELECT * INTO asked FROM erasure_orders WHERE id = which;
    SELECT * INTO decided FROM erasure_decisions WHERE order_id = which;
    IF asked.id IS NULL OR decided.order_id IS NULL OR NOT decided.approved THEN
        RAISE EXCEPTION 'no second officer approved this order' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF asked.user_id = decided.user_id OR (
        SELECT count(DISTINCT a.user_id) FROM appointments a
        JOIN users u ON u.id = a.user_id AND u.disabled_at IS NULL AND u.kind = 'person'
        JOIN agencies g ON g.id = a.agency_id AND g.body_id = asked.agency_id
        WHERE (a.id, a.user_id) IN ((asked.appointment_id, asked.user_id), (decided.appointment_id, decided.user_id))
            AND a.valid_from <= asked.asked_at AND (a.valid_to IS NULL OR a.valid_to > now())
    ) <> 2 THEN
        RAISE EXCEPTION 'an order takes two officers of the institution, both in office since before it was given'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (
        SELECT FROM audit_entries e WHERE e.act = 'appointment.made' AND (
            (e.payload ->> 'user_id' = asked.user_id::text AND e.subject_id = decided.appointment_id)
            OR (e.payload ->> 'user_id' = decided.user_id::text AND e.subject_id = asked.appointment_id)
        )
    ) THEN
        RAISE EXCEPTION 'one of the two officers appointed the other' USING ERRCODE = 'insufficient_privilege';
    END IF;
    told := audit_told(said, 'audit.erased');
    IF (
        SELECT array_agg(n ORDER BY n) FROM generate_subscripts(told, 1) i,
            generate_series(told[i], least(told[i + 1], told[i] + 20000)) n WHERE i % 2 = 1
    ) IS DISTINCT FROM asked.indexes THEN
        RAISE EXCEPTION 'the entry names other entries than the order' USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH changed AS (
        UPDATE audit_entries e SET payload = NULL, salt = NULL
        FROM unnest(asked.indexes) n JOIN audit_leaves l ON l.position = n + 1
        WHERE e.id = l.id AND e.at = l.at AND e.payload IS NOT NULL AND e.act NOT LIKE 'audit.%'
        RETURNING e.tableoid
    ), noted AS (
        INSERT INTO audit_rewrites (partition) SELECT DISTINCT tableoid::regclass::text FROM changed
        ON CONFLICT (partition) DO UPDATE SET erased_at = now()
    )
    SELECT count(*) INTO erased FROM changed;
    RETURN erased;
END $$;

-- The runs of indexes of all numbered entries made before a moment; what was dropped has kept its leaf and its time.
CREATE FUNCTION audit_before(until timestamptz) RETURNS TABLE (first bigint, last bigint)
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT min(n), max(n) FROM (
        SELECT position - 1 AS n, position - row_number() OVER (ORDER BY position) AS run FROM audit_leaves
        WHERE at < until
    ) found GROUP BY run ORDER BY 1;
$$;

-- For the owner alone: erases the contents in one partition of entries older than a moment a year ago or more, if an
-- entry says so.
CREATE FUNCTION audit_erase_old(partition_name regclass, until timestamptz, said uuid) RETURNS integer
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    told bigint[];
    erased integer;
BEGIN
    IF until > now() - interval '365 days' THEN
        RAISE EXCEPTION 'contents are kept for a year at least';
    END IF;
    told := audit_told(said, 'audit.erased');
    EXECUTE format(
        'UPDATE %s e SET payload = NULL, salt = NULL FROM audit_leaves l, generate_subscripts($2, 1) i'
        ' WHERE l.id = e.id AND l.at = e.at AND e.at < $1 AND e.payload IS NOT NULL'
        ' AND e.act NOT IN (''audit.erased'', ''audit.dropped'')'  -- they name nobody, and explain what is gone
        ' AND i %% 2 = 1 AND l.position - 1 BETWEEN $2[i] AND $2[i + 1]', partition_name) USING until, told;
    GET DIAGNOSTICS erased = ROW_COUNT;
    IF erased > 0 THEN
        INSERT INTO audit_rewrites (partition) VALUES (partition_name::text)
        ON CONFLICT (partition) DO UPDATE SET erased_at = now();
    END IF;
    RETURN erased;
END $$;

-- For the owner alone: drops the partitions that lie before a moment a year ago or more, children first, if an entry
-- says so. A view of the next month that stands on a grant of the dropped one goes with it; leaves and nodes stay.
CREATE FUNCTION audit_drop_before(until timestamptz, said uuid) RETURNS text[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    told bigint[];
    parent text;
    child text;
    dropped text[] := '{}';
BEGIN
    IF until > now() - interval '365 days' THEN
        RAISE EXCEPTION 'a period is kept for a year at least';
    END IF;
    told := audit_told(said, 'audit.dropped');
    IF EXISTS (
        SELECT FROM audit_before(until) b WHERE NOT EXISTS (
            SELECT FROM generate_subscripts(told, 1) i WHERE i % 2 = 1 AND b.first >= told[i] AND b.last <= told[i + 1]
        )
    ) OR EXISTS (SELECT FROM audit_pending p WHERE p.at < until) THEN
        RAISE EXCEPTION 'the entry does not name all that would be dropped';
    END IF;
    FOREACH parent IN ARRAY ARRAY['views', 'grants', 'audit_entries'] LOOP
        FOR child IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = parent::regclass AND c.relname ~ '_of_[0-9]{6}$'
                AND (to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC' <= until
            ORDER BY c.relname
        LOOP
            EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
            EXECUTE format('DROP TABLE %I', child);
            dropped := dropped || child;
        END LOOP;
        EXECUTE format('DELETE FROM %I WHERE %I < $1', parent, CASE parent WHEN 'views' THEN 'grant_at' ELSE 'at' END)
            USING until;
    END LOOP;
    DELETE FROM audit_rewrites WHERE partition = ANY(dropped);
    RETURN dropped;
END $$
"""
TO_THE_APPLICATION = "audit_cosign, audit_erase_by_order, audit_before"
TO_THE_OWNER = "audit_told, audit_erase_old, audit_drop_before"


def upgrade() -> None:
    op.create_table(
        "witness_checkpoints",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("cosignature", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("origin", "size", name=op.f("pk_witness_checkpoints")),
    )
    op.create_table(
        "witness_refusals",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("old", sa.BigInteger(), nullable=False),
        sa.Column("proof", postgresql.ARRAY(sa.LargeBinary()), server_default="{}", nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("origin", "size", "root", name=op.f("pk_witness_refusals")),
    )
    op.create_table(
        "erasure_orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agency_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("appointment_id", sa.Uuid(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("document_number", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("selection", postgresql.JSONB(), nullable=False),
        sa.Column("indexes", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cardinality(indexes) BETWEEN 1 AND 20000", name=op.f("ck_erasure_orders_some")),
        sa.ForeignKeyConstraint(["agency_id"], ["agencies.id"], name=op.f("fk_erasure_orders_agency_id_agencies")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_erasure_orders_user_id_users")),
        sa.ForeignKeyConstraint(
            ["appointment_id"], ["appointments.id"], name=op.f("fk_erasure_orders_appointment_id_appointments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_orders")),
    )
    op.create_index("ix_erasure_orders_agency_id", "erasure_orders", ["agency_id"])
    op.create_table(
        "erasure_decisions",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("appointment_id", sa.Uuid(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"], ["erasure_orders.id"], name=op.f("fk_erasure_decisions_order_id_erasure_orders")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_erasure_decisions_user_id_users")),
        sa.ForeignKeyConstraint(
            ["appointment_id"], ["appointments.id"], name=op.f("fk_erasure_decisions_appointment_id_appointments")
        ),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_erasure_decisions")),
    )
    op.create_table(
        "audit_rewrites",
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rewritten_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("partition", name=op.f("pk_audit_rewrites")),
    )
    op.execute(
        "GRANT SELECT, INSERT ON witness_checkpoints, witness_refusals, erasure_orders, erasure_decisions TO gwanje_app"
    )
    op.execute("GRANT SELECT ON audit_rewrites TO gwanje_app")
    for function in FUNCTIONS.strip().split("\n\n"):
        op.execute(function)
    op.execute(f"REVOKE EXECUTE ON FUNCTION {TO_THE_APPLICATION}, {TO_THE_OWNER} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {TO_THE_APPLICATION} TO gwanje_app")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {TO_THE_APPLICATION}, {TO_THE_OWNER}")
    for table in ("audit_rewrites", "erasure_decisions", "erasure_orders", "witness_refusals", "witness_checkpoints"):
        op.drop_table(table)
