"""What reports are checked against: the things they tell of, and the sources they may come from, by one query."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.actor import Actor
from app.database import On, fetch
from app.events.report import Report
from app.events.sources import Bound, Remit, remit_of

Request = tuple[Actor | None, Sequence[Report]]

# Of cameras ($2), assets ($3), sources ($4), and of what is bound in these bodies, to these users.
THINGS = """
SELECT 'cameras' AS what, id AS of_id, owner_agency_id AS of_agency_id, area_ids AS of_area_ids,
    installation_purposes AS of_kinds, id AS camera_id, latitude, longitude, NULL::text AS name,
    NULL::uuid[] AS subject_ids, NULL::timestamptz AS ended_at
FROM camera_positions WHERE id = ANY($2::uuid[])
UNION ALL SELECT 'assets', id, owner_agency_id, area_ids, '{{}}', camera_ids[1], latitude, longitude, NULL, NULL, NULL
FROM assets WHERE id = ANY($3::uuid[])
UNION ALL SELECT '', user_id, agency_id, area_ids, kinds, NULL, NULL, NULL, name, subject_ids, ended_at
FROM event_sources
WHERE agency_id IN ({bodies}) AND (user_id IN ({users}) OR (name = ANY($4::text[]) AND ended_at IS NULL))
"""
_OF_ACTORS = THINGS.format(bodies="SELECT unnest($1::uuid[])", users="SELECT unnest($5::uuid[])")


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event takes over from the thing that it tells of."""

    owner_agency_id: UUID
    area_ids: Sequence[UUID]
    installation_purposes: Sequence[str]
    camera_id: UUID | None
    latitude: float | None
    longitude: float | None


Subjects = Mapping[tuple[str, UUID], Subject]
"""By kind (cameras, assets) and id."""


@dataclass(frozen=True, slots=True)
class Found:
    """The things that reports name, whosesoever they are, and what is bound of the sources and the accounts."""

    subjects: Subjects
    bound: Sequence[Bound]

    def remit(self, actor: Actor | None, reports: Iterable[Report]) -> Remit:
        """What an actor may report as the sources that these reports name."""
        return remit_of(actor, {report.source for report in reports}, self.bound)


async def of_actors(on: On, requests: Collection[Request]) -> Found:
    """What is known of the reports of these actors."""
    reports = [report for _, reports in requests for report in reports]
    actors = [actor for actor, _ in requests if actor is not None]
    if not actors and not any(report.subject_id for report in reports):
        return Found({}, [])
    bodies, users = list({actor.body_id for actor in actors}), list({actor.user_id for actor in actors})
    return found_of(await fetch(on, _OF_ACTORS, bodies, *named(reports), users))


def named(reports: Iterable[Report]) -> tuple[list[UUID], list[UUID], list[str]]:
    """Cameras, assets and sources that reports name; these have not been checked yet."""
    subjects: dict[str, set[UUID]] = {"cameras": set(), "assets": set()}
    names = set()
    for report in reports:
        if report.source.isprintable():  # else the database would not even read it
            names.add(report.source)
        if report.subject_id is not None and report.subject_kind in subjects:
            subjects[report.subject_kind].add(report.subject_id)
    return list(subjects["cameras"]), list(subjects["assets"]), list(names)


def found_of(rows: Iterable[Sequence[Any]]) -> Found:
    """Out of the rows of `THINGS`."""
    subjects, bound = {}, []
    for what, of_id, agency_id, area_ids, kinds, camera_id, latitude, longitude, name, subject_ids, ended_at in rows:
        if what:
            subjects[what, of_id] = Subject(agency_id, area_ids, kinds, camera_id, latitude, longitude)
        else:
            bound.append(Bound(agency_id, of_id, name, kinds, subject_ids, area_ids, ended_at))
    return Found(subjects, bound)
