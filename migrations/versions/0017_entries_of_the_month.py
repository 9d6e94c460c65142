"""A month's grants and views refer to the entries of the same month: a reference to all months cost half of a grant."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

REFERENCES = {"grants": "entry_id", "views": "opened_entry_id"}
# Entry, grant and view are written by one transaction, and their `at` is its time: they lie in the same month.
MAKE_PARTITIONS = """
CREATE OR REPLACE FUNCTION make_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    month date;
    suffix text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('gwanje.make_partitions'));
    FOREACH parent IN ARRAY ARRAY['audit_entries', 'events', 'grants', 'views'] LOOP
        FOR ahead IN 0..least(greatest(months_ahead, 0), 24) LOOP
            month := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead))::date;
            suffix := '_of_' || to_char(month, 'YYYYMM');
            IF to_regclass(format('%I', parent || suffix)) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || suffix, parent,
                    month::text || ' 00:00+00', (month + interval '1 month')::date::text || ' 00:00+00');
{reference}                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$
"""
REFERENCE = """\
                IF parent IN ('grants', 'views') THEN
                    EXECUTE format('ALTER TABLE %I ADD FOREIGN KEY (%I, at) REFERENCES %I (id, at)', parent || suffix,
                        CASE parent WHEN 'grants' THEN 'entry_id' ELSE 'opened_entry_id' END, 'audit_entries' || suffix);
                END IF;
"""
OF_EACH = """
DO $$
DECLARE
    suffix text;
BEGIN
    FOR suffix IN
        SELECT substr(c.relname, length('{table}') + 1) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = '{table}'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %I ADD FOREIGN KEY ({column}, at) REFERENCES %I (id, at)',
            '{table}' || suffix, 'audit_entries' || suffix);
    END LOOP;
END $$
"""
OF_NONE = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT k.conrelid::regclass::text AS child, k.conname FROM pg_constraint k
        JOIN pg_inherits i ON i.inhrelid = k.conrelid AND i.inhparent = '{table}'::regclass
        JOIN pg_inherits e ON e.inhrelid = k.confrelid AND e.inhparent = 'audit_entries'::regclass
        WHERE k.contype = 'f' AND k.conparentid = 0
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.child, found.conname);
    END LOOP;
END $$
"""


def upgrade() -> None:
    for table, column in REFERENCES.items():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_{column}_at_audit_entries")
        op.execute(OF_EACH.format(table=table, column=column))
    op.execute(MAKE_PARTITIONS.format(reference=REFERENCE))


def downgrade() -> None:
    op.execute(MAKE_PARTITIONS.format(reference=""))
    for table, column in REFERENCES.items():
        op.execute(OF_NONE.format(table=table))
        op.create_foreign_key(
            f"fk_{table}_{column}_at_audit_entries", table, "audit_entries", [column, "at"], ["id", "at"]
        )
