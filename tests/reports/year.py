"""A year of accesses of one city and its partners, made in the database by the superuser: many rows in seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from app.database import Database
from tests import factories
from tests.conftest import Databases
from tests.reports.past import Past

YEAR = 2025
SINCE, UNTIL = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 1, 1, 1, tzinfo=UTC)
CAMERAS, PEOPLE = 2_000, 120
_PARTITION = """
DO $$ DECLARE parent text; month date; BEGIN
    FOREACH parent IN ARRAY ARRAY['audit_entries', 'grants', 'views'] LOOP
        FOR ahead IN 0..11 LOOP
            month := make_date({year}, 1, 1) + make_interval(months => ahead);
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || '_of_' || to_char(month, 'YYYYMM'), parent,
                month::text || ' 00:00+00', (month + interval '1 month')::date::text || ' 00:00+00');
        END LOOP;
    END LOOP;
END $$
"""
_ACCESSES = """
CREATE TEMP TABLE made AS
SELECT gen_random_uuid() AS view_id, gen_random_uuid() AS grant_id, gen_random_uuid() AS entry_id,
    timestamptz '{year}-01-01 00:00+00' + interval '1 year' * ((n - random()) / {views}) AS at,
    ($1::uuid[])[1 + floor(random() ^ 2 * {cameras})::int] AS camera_id,
    1 + floor(random() ^ 2 * {people})::int AS person, n
FROM generate_series(1, {views}) n;
"""
_GRANTS = """
INSERT INTO grants (id, at, entry_id, kind, user_id, appointment_id, agency_id, session_id, owner_agency_id,
    camera_ids, use_purpose, basis, refs, incident_id, urgency, restriction, expires_at, latest_expires_at)
SELECT grant_id, at, entry_id, 'approved', ($1::uuid[])[person], ($2::uuid[])[person], ($3::uuid[])[person],
    ($4::uuid[])[person], $5, ARRAY[camera_id], (ARRAY['crime_investigation', 'missing_person', 'fire_and_rescue',
    'traffic_accident', 'emergency_response'])[1 + n % 5], (ARRAY['KR-PIPA-18-2-7', 'KR-PIPA-18-2-3'])[1 + n % 2],
    CASE WHEN n % 3 = 0 THEN jsonb_build_array(jsonb_build_object('kind', '112', 'number', '112-' || n / 12)) ELSE '[]' END,
    CASE WHEN n % 4 = 0 THEN uuid(md5((n / 12)::text)) END, n % 5, CASE WHEN n % 500 = 0 THEN 'protected' ELSE '' END, at, at
FROM made
"""
_VIEWS = """
INSERT INTO views (id, at, opened_entry_id, grant_id, grant_at, camera_id, owner_agency_id, user_id, agency_id,
    protocol, gateway, node, closed_at, cause, seconds, first_byte_at)
SELECT view_id, at, entry_id, grant_id, at, camera_id, $3, ($1::uuid[])[person], ($2::uuid[])[person], 'fmp4',
    'embedded', 'made', at + interval '90 seconds', 'client', 90, at + interval '700 milliseconds'
FROM made ORDER BY at
"""


@dataclass(frozen=True)
class Year:
    """The city, its cameras, and people of its own (the first half) and of the police."""

    past: Past
    police: UUID
    cameras: list[UUID]
    people: list[factories.Person]


async def make(base: Database, databases: Databases, name: str, views: int) -> Year:
    """A city, a police agency and `views` views between them, spread over a year of monthly partitions."""
    past, police = await Past.of(base), await factories.agency(base, "police")
    people = [await past.person("operator" if n % 2 else "room", past.agency if n % 2 else police) for n in range(8)]
    first = await past.camera()
    connection: asyncpg.Connection = await databases.superuser(name)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(_PARTITION.format(year=YEAR))
        site = await connection.fetchval("SELECT site_id FROM camera_positions WHERE id = $1", first)
        rows = await connection.fetch(
            "INSERT INTO camera_positions (id, site_id, ordinal, name, owner_agency_id, has_stream)"
            " SELECT gen_random_uuid(), $1, n, '방범-' || n, $2, true FROM generate_series(2, $3::int) n RETURNING id",
            site, past.agency, CAMERAS,
        )  # fmt: skip
        cameras = [first, *(row["id"] for row in rows)]
        users = await connection.fetch(
            "WITH u AS (INSERT INTO users (id, login, name) SELECT gen_random_uuid(), 'year-' || $1::uuid || '-' || n,"
            " '홍길동' FROM generate_series(1, $2::int) n RETURNING id) SELECT id FROM u", past.agency, PEOPLE - len(people),
        )  # fmt: skip
        for number, user in enumerate(users):
            agency = past.agency if number % 2 else police
            appointment = await connection.fetchval(
                "INSERT INTO appointments (id, user_id, agency_id, role) VALUES (gen_random_uuid(), $1, $2, $3)"
                " RETURNING id", user["id"], agency, "operator" if number % 2 else "room",
            )  # fmt: skip
            people.append(factories.Person(user["id"], "", agency, appointment))
        session = await connection.fetchval("SELECT gen_random_uuid()")
        binds = [person.user_id for person in people], [person.appointment_id for person in people]
        agencies = [person.agency_id for person in people]
        made = _ACCESSES.format(year=YEAR, views=views, cameras=CAMERAS, people=PEOPLE)
        array = "ARRAY[" + ",".join(f"'{camera}'" for camera in cameras) + "]"
        await connection.execute(made.replace("$1", array), timeout=600)
        sessions = [session] * PEOPLE
        await connection.execute(_GRANTS, *binds, agencies, sessions, past.agency, timeout=900)
        await connection.execute(_VIEWS, binds[0], agencies, past.agency, timeout=900)
        await connection.execute("VACUUM ANALYZE views", timeout=600)
        await connection.execute("VACUUM ANALYZE grants", timeout=600)
        await connection.execute("ANALYZE camera_positions")
    finally:
        await connection.close()
    return Year(past, police, cameras, people)
