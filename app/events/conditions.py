"""What lasts until something ends it: what a condition is of, and where it is spoken of."""

from hashlib import sha256
from typing import NamedTuple

from app.events.catalogue import KINDS
from app.events.known import Subject
from app.events.report import Report

MOST_ZONE = 100  # characters of a zone's name in a key
_PLACE_CHARACTERS = 16


class Condition(NamedTuple):
    """A condition as an event speaks of it: of which family, of what thing, from which place, and whether it lasts."""

    family: str
    subject: str
    place: str
    lasts: bool

    @classmethod
    def told_by(cls, report: Report, subject: Subject, body: str) -> "Condition | None":
        """The condition that a report of a body begins, changes or ends, if it does."""
        kind = KINDS[report.kind]
        if not (kind.lasts or kind.ends):
            return None
        return cls(kind.family, _of(report, subject, body), _place(report, subject), kind.lasts)


def _of(report: Report, subject: Subject, body: str) -> str:
    """What a condition is of: a thing, an incident, else a source; of a crowd one zone of it.

    Nobody ends the condition of another owner's incident, and no drill ends a real condition.
    """
    noun = KINDS[report.kind].noun
    if noun == "incident" and report.incident_id is not None:
        of = f"incident/{report.incident_id}/{subject.owner_agency_id}"
    elif report.subject_id is not None:
        of = f"{report.subject_kind}/{report.subject_id}"
    else:
        of = f"{body}/{report.source}"
    if noun == "crowd" and (zone := report.data.get("zone")):
        of += "#" + (zone if len(zone) <= MOST_ZONE else sha256(zone.encode()).hexdigest())
    return f"exercise/{of}" if report.exercise else of


def _place(report: Report, subject: Subject) -> str:
    """Everything by which some may hear of an event, or wish to, and others not: of each the newest word is kept.

    So whoever has heard of a beginning, and not of what followed elsewhere, finds it in a snapshot, too. A thing stays
    in one place unless the register moves it, or its trouble is restricted.
    """
    areas, purposes = sorted(map(str, subject.area_ids)), sorted(subject.installation_purposes)
    told = f"{areas} {purposes} {report.restriction} {subject.latitude} {subject.longitude} {subject.camera_id}"
    return sha256(told.encode()).hexdigest()[:_PLACE_CHARACTERS]
