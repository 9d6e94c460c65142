"""The three registers: what each takes from the tables, and how it says it. Read by a cursor, in order of time.

A restricted row shows who may not know it (`audit.restricted`) its number and its time, and that it is withheld.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from app.access.codes import BASES, USE_PURPOSES
from app.reports import forms
from app.reports.current import CURRENT, RESTRICTED
from app.reports.forms import Cell, Form
from app.reports.tasks import OUTCOMES, SUBJECTS, task

WITHHELD, ERASED = "열람 제한", "파기됨"
KINDS = {"use": "이용", "provide": "제공", "access": "열람", "destroy": "파기"}
FORM_WORDS = {"live": "실시간", "video": "동영상", "photo": "사진", "excel": "엑셀", "other": "기타"}
MEDIA_WORDS = {"": "", "network": "전송망", "usb": "USB", "disc": "디스크", "paper": "출력물", "other": "기타"}
_YES_NO = {True: "여", False: "부", None: ""}


def _at(column: str, form: str = "YYYY-MM-DD HH24:MI:SS") -> str:
    return f"to_char({column} AT TIME ZONE 'Asia/Seoul', '{form}')"


_PARTY = ("agency", "rank", "name", "contact")
_PARTIES = ", ".join(
    f"coalesce(x.{party} ->> '{name}', '') AS {party}_{name}" for party in ("requester", "recipient") for name in _PARTY
)
# A camera is told by its name and its place; of several the first, and how many more.
_PROVISIONS = f"""
{CURRENT}, seen AS (
    SELECT grant_id, count(*) AS times, round(sum(seconds)) AS seconds FROM views
    WHERE owner_agency_id = :agency_id AND at >= :since AND at < CAST(:until AS timestamptz) + interval '1 day'
    GROUP BY grant_id
)
SELECT x.id, x.kind, x.out_of_purpose, x.basis, x.law, x.document_number, x.purpose, x.crime, x.reason, x.file_name,
    x.form, x.medium, x.items, x.pledged, {_PARTIES}, x.destruction, x.safety_asked, x.safety_result,
    x.arrest, x.in_charge, x.witness, x.exercise, x.restriction,
    CASE WHEN x.restriction <> '' THEN x.acted_for END AS acted_for, {_at("x.provided_at")} AS provided,
    {_at("x.recorded_from")} AS recorded_from, {_at("x.recorded_to")} AS recorded_to,
    x.kept_until::text AS kept_until, x.destroy_due::text AS destroy_due, x.destroyed_on::text AS destroyed_on,
    c.name AS camera, cardinality(x.camera_ids) AS cameras, coalesce(nullif(x.place, ''), nullif(s.road_address, ''),
    s.lot_address, '') AS place, v.times, v.seconds
FROM current x
LEFT JOIN camera_positions c ON c.id = x.camera_ids[1]
LEFT JOIN sites s ON s.id = c.site_id
LEFT JOIN seen v ON v.grant_id = x.grant_id
WHERE {{where}}
ORDER BY x.provided_at, x.id
"""  # noqa: S608 - our own SQL
_OUT_OF_PURPOSE = "x.out_of_purpose AND x.kind IN ('use', 'provide')"
_COUNTED = f"{CURRENT} SELECT count(*) FROM current x WHERE {{}}"  # noqa: S608 - our own SQL
_ACTS = """
SELECT count(*) FROM audit_entries e
WHERE e.at >= :since AND e.at < :until AND (e.agency_id = :agency_id OR e.owner_agency_id = :agency_id)
"""
_ACCESSES = f"""
WITH restricted AS MATERIALIZED ({RESTRICTED}), incidents AS (
    SELECT incident_id, max(restriction) AS restriction FROM restricted WHERE incident_id IS NOT NULL GROUP BY 1
), granted AS MATERIALIZED (
    SELECT g.id, coalesce(nullif(g.restriction, ''), r.restriction, i.restriction) AS restriction FROM grants g
    LEFT JOIN restricted r ON r.id = g.event_id LEFT JOIN incidents i ON i.incident_id = g.incident_id
    WHERE g.at >= CAST(:since AS timestamptz) - interval '1 day' AND g.at < :until
        AND (g.restriction <> '' OR r.id IS NOT NULL OR i.incident_id IS NOT NULL)
)
SELECT {_at("e.at")} AS at, e.act, e.outcome, e.subject_kind, e.subject_id, e.payload IS NULL AS erased,
    coalesce(p.login, p.login_tried) AS login, p.address, p.purpose, p.basis, p.reason, a.name AS agency,
    c.name AS camera, s.road_address AS place, u.login AS person, p."references" AS refs,
    coalesce(nullif(e.restriction, ''), g.restriction, i.restriction, r.restriction, '') AS restriction,
    CASE WHEN e.restriction <> '' OR coalesce(g.restriction, i.restriction, r.restriction) IS NOT NULL
    THEN a.acts_for_ids END AS acted_for, p.on_behalf_of
FROM audit_entries e
LEFT JOIN LATERAL json_to_record(e.payload) AS p (login text, login_tried text, address text, purpose text, basis text,
    reason text, grant_id text, incident_id text, event_id text, on_behalf_of text, "references" text) ON true
LEFT JOIN agencies a ON a.id = e.agency_id
LEFT JOIN camera_positions c ON c.id = e.camera_id
LEFT JOIN sites s ON s.id = c.site_id
LEFT JOIN users u ON u.id = e.subject_id AND e.subject_kind = 'user'
LEFT JOIN granted g ON g.id::text = coalesce(p.grant_id, e.subject_id::text)
LEFT JOIN incidents i ON i.incident_id::text = p.incident_id
LEFT JOIN restricted r ON r.id::text = p.event_id
WHERE e.at >= :since AND e.at < :until AND (e.agency_id = :agency_id OR e.owner_agency_id = :agency_id)
    AND (e.payload IS NULL OR p.login IS NOT NULL OR p.login_tried IS NOT NULL)
ORDER BY e.at, e.id
"""  # noqa: S608 - our own SQL


def basis_words(basis: str, law: str = "") -> str:
    """A basis as an official reads it: the article of the statute, then what it says."""
    if basis not in BASES:
        return law or basis
    _, _, article, paragraph, item = (*basis.split("-"), "")[:5]
    said = f"개인정보 보호법 제{article}조제{paragraph}항{f'제{item}호' if item else ''} ({BASES[basis].label})"
    return f"{said}, {law}" if law else said


def _camera(row: Any) -> str:
    more = f" 외 {row.cameras - 1}대" if row.cameras and row.cameras > 1 else ""
    return f"{row.camera}{more}" if row.camera else ""


def _span(row: Any) -> str:
    return f"{row.recorded_from or ''} ~ {row.recorded_to or ''}" if row.recorded_from or row.recorded_to else ""


def _joined(*parts: str | None, by: str = " / ") -> str:
    return by.join(filter(None, parts))


def _parties(row: Any) -> tuple[str, ...]:
    return tuple(getattr(row, f"{party}_{name}") for party in ("requester", "recipient") for name in _PARTY)


def _purpose(row: Any) -> str:
    return _joined(USE_PURPOSES.get(row.purpose, row.purpose), row.reason, "훈련" if row.exercise else "", by=" · ")


def _footage(row: Any, number: int) -> tuple[Cell, ...]:
    live = row.form == "live"
    seen = f"실시간 조회 {row.times}회 {row.seconds:.0f}초" if row.times else "실시간 (조회 없음)"
    kept = _joined(row.kept_until, row.destroy_due and f"파기예정 {row.destroy_due}")
    safety = _joined(row.safety_asked, row.safety_result and f"결과: {row.safety_result}")
    return (
        number, KINDS[row.kind], row.provided, _joined(row.file_name, _camera(row), seen if live else ""),
        row.in_charge, row.crime, _purpose(row), *_parties(row), row.document_number,
        {True: "징구", False: "미징구", None: ""}[row.pledged], basis_words(row.basis, row.law), FORM_WORDS[row.form],
        MEDIA_WORDS[row.medium], _span(row), row.place, kept, _joined(row.destruction, row.destroyed_on), safety,
        _YES_NO[row.arrest], row.witness,
    )  # fmt: skip


def _provision(row: Any, number: int) -> tuple[Cell, ...]:
    name = f"개인영상정보파일 ({_joined(_camera(row), row.file_name, by=', ')})"
    who = row.recipient_agency or row.requester_agency
    when = _joined(row.provided, _span(row) and f"기록기간 {_span(row)}")
    safety = _joined(row.safety_asked, row.safety_result and f"결과: {row.safety_result}")
    return (
        number, "목적 외 이용" if row.kind == "use" else "목적 외 제3자 제공", name, who, _purpose(row),
        _joined(basis_words(row.basis, row.law), row.document_number, by=", "), row.items, when,
        _joined(FORM_WORDS[row.form], MEDIA_WORDS[row.medium], by=", "), safety,
    )  # fmt: skip


def _access(row: Any, number: int) -> tuple[Cell, ...]:
    if row.camera:
        whose = f"카메라 {row.camera} ({row.place})" if row.place else f"카메라 {row.camera}"
    elif row.subject_id:
        whose = f"{SUBJECTS.get(row.subject_kind, row.subject_kind)} {row.person or row.subject_id}"
    else:
        whose = ""
    numbers = ", ".join([str(one["number"]) for one in orjson.loads(row.refs)]) if row.refs else ""
    behalf = row.on_behalf_of and f"{row.on_behalf_of} 대리"
    why = _joined(USE_PURPOSES.get(row.purpose, row.purpose), row.basis, numbers, row.reason, behalf)
    login, address = (ERASED, ERASED) if row.erased else (row.login or "", row.address or "")
    done = OUTCOMES.get(row.outcome, row.outcome)
    return (number, login, row.agency or "", row.at, address, whose, task(row.act), done, why)


@dataclass(frozen=True, slots=True)
class Register:
    """A register: its form, its query (binds :agency_id, :since, :until), a row's cells, where a row's time stands."""

    form: Form
    query: str
    cells: Callable[[Any, int], tuple[Cell, ...]]
    time: int
    total: str
    """How many rows that may be, or a few more: what nobody did is counted, since looking into each takes its time."""

    def line(self, row: Any, number: int, *, full: bool) -> tuple[Cell, ...]:
        """A row as cells; of one that the reader may not know, its number and time."""
        if full:
            return self.cells(row, number)
        at = row.at if self.form is forms.ACCESS else row.provided
        told: list[Cell] = [number, WITHHELD, *("" for _ in self.form.columns[2:])]
        told[self.time] = at
        return tuple(told)


REGISTERS: Mapping[str, Register] = MappingProxyType(
    {
        "footage": Register(forms.FOOTAGE, _PROVISIONS.format(where="true"), _footage, 2, _COUNTED.format("true")),
        "provision": Register(
            forms.PROVISION, _PROVISIONS.format(where=_OUT_OF_PURPOSE), _provision, 7, _COUNTED.format(_OUT_OF_PURPOSE)
        ),
        "access": Register(forms.ACCESS, _ACCESSES, _access, 3, _ACTS),
    }
)
