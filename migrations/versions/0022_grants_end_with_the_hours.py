"""A grant under an agreement with hours ends when they do, and says so beforehand."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

CLOSES = """
CREATE FUNCTION agreement_closes(hours jsonb, moment timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp AS $$
DECLARE
    there timestamp := moment AT TIME ZONE 'Asia/Seoul';
    today date := there::date;
    begins time := coalesce(hours ->> 'from', '00:00')::time;
    ends time := coalesce(hours ->> 'to', '00:00')::time;
    days jsonb := coalesce(hours -> 'days', '[1, 2, 3, 4, 5, 6, 7]'::jsonb);
BEGIN
    IF hours IS NULL THEN
        RETURN NULL;
    ELSIF begins < ends THEN
        RETURN (today + ends) AT TIME ZONE 'Asia/Seoul';
    ELSIF begins > ends THEN
        RETURN (today + (there::time >= ends)::int + ends) AT TIME ZONE 'Asia/Seoul';
    END IF;
    FOR ahead IN 1..7 LOOP
        IF NOT days @> to_jsonb(extract(isodow FROM today + ahead)::int) THEN
            RETURN (today + ahead)::timestamp AT TIME ZONE 'Asia/Seoul';
        END IF;
    END LOOP;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute(CLOSES)
    op.execute(
        "COMMENT ON FUNCTION agreement_closes IS 'When hours that are open at a moment end; NULL where they never do'"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION agreement_closes")
