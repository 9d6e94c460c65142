"""The catalogue: kinds that are typed, families that begin and end, fields that not everybody is told, one document."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from app.errors import Malformed
from app.events import catalogue, document
from app.events.catalogue import EMERGENCY, KINDS, SEVERITIES, EventKind, Field, Sight, seen, urgency
from app.events.contents import is_forbidden
from app.events.fields import NOUNS
from app.events.kind import TYPES
from app.feed.messages import OURS, TYPE_PREFIX

FIELDS = [(kind, field) for kind in KINDS.values() for field in kind.fields]
ID = "0192f0c1-2345-7abc-8def-0123456789ab"
SAMPLES: dict[str, Any] = {
    "text": "가나다", "code": "", "integer": 1, "number": 0.5, "boolean": True, "time": "2026-01-31T09:00:00+09:00",
    "id": ID, "ids": [ID], "texts": ["가"], "object": {"a": 1},
}  # fmt: skip
WRONG: dict[str, list[Any]] = {
    "text": [1, True, ["x"], {}],
    "code": ["no such code", 1, []],
    "integer": ["1", 1.5, True, 2**53],
    "number": ["1", True, [], float("nan"), float("inf")],
    "boolean": [0, 1, "true"],
    "time": ["yesterday", "2026-01-31T09:00:00", 5],
    "id": ["7", 7, "{0192f0c1-2345-7abc-8def-0123456789ab}", ID.replace("-", "")],
    "ids": [ID, ["x"], [ID] * 101],
    "texts": ["a", [1], ["a"] * 101],
    "object": [[], "a", 1],
}


def sample(field: Field) -> Any:
    if field.codes:
        return field.codes[0]
    return field.least if field.least is not None and field.type in ("integer", "number") else SAMPLES[field.type]


def data_of(kind: EventKind) -> dict[str, Any]:
    return {field.name: sample(field) for field in kind.fields}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_a_name_a_meaning_and_a_label_in_korean(kind: EventKind) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", kind.name)
    assert kind.noun in NOUNS
    assert kind.severity in range(len(SEVERITIES))
    assert re.search("[가-힣]", kind.label)
    assert re.fullmatch(r"[\x20-\x7e]{8,}", kind.meaning)
    assert kind.acknowledge_seconds == 0 or kind.from_outside
    names = [field.name for field in kind.fields]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=[f"{kind.name}.{field.name}" for kind, field in FIELDS])
def test_every_field_is_described_and_may_be_carried(kind: EventKind, field: Field) -> None:
    assert field.type in TYPES
    assert re.search("[가-힣]", field.label)
    assert not is_forbidden(field.name), "a field of the catalogue that every report of it would be refused for"
    assert field.name not in OURS
    assert bool(field.codes) == (field.type == "code")


def test_every_kind_of_before_is_still_there() -> None:
    before = """bell.pressed bell.tested bell.failed camera.lost camera.restored camera.moved analytic.loitering
    analytic.intrusion analytic.abandonment analytic.collapse analytic.fight analytic.weapon analytic.arson
    analytic.fire analytic.drowning analytic.missing_person crowd.caution crowd.alert crowd.serious traffic.accident
    incident.opened incident.updated incident.closed unit.dispatched unit.arrived pole.tilted grant.given
    grant.revoked view.opened view.closed"""
    assert set(before.split()) <= set(KINDS)
    assert len(KINDS) > len(before.split())
    assert catalogue.TYPE_PREFIX == TYPE_PREFIX


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_data_of_each_kind_is_checked_by_type_and_its_schema_agrees(kind: EventKind) -> None:
    good = data_of(kind)
    schema = Draft202012Validator(kind.schema())
    kind.check(good | {"something else": object()})
    schema.validate(good | {"something else": 1})
    for field in kind.fields:
        outside = [] if field.most is None else [field.most + 1]
        outside += [] if field.least is None else [field.least - 1]
        for wrong in [*WRONG[field.type], *outside]:
            with pytest.raises(Malformed) as refused:
                kind.check(good | {field.name: wrong})
            assert refused.value.extra == {"field": f"data.{field.name}", "expected": field.expected()}
            if field.type not in ("time", "id", "ids") and wrong == wrong and wrong != float("inf"):  # noqa: PLR0124
                assert not schema.is_valid(good | {field.name: wrong}), (field.name, wrong)
        if field.required:
            with pytest.raises(Malformed):
                kind.check({name: value for name, value in good.items() if name != field.name})
            assert not schema.is_valid({})
        else:
            kind.check(good | {field.name: None})
            schema.validate(good | {field.name: None})


def test_families_begin_and_end() -> None:
    for kind in KINDS.values():
        if kind.ends:
            assert KINDS[kind.ends].lasts
            assert not kind.lasts
        if kind.family:
            assert KINDS[kind.family].family == kind.family
    lasting = {kind.family for kind in KINDS.values() if kind.lasts}
    assert lasting == {kind.ends for kind in KINDS.values() if kind.ends}, "what lasts must be able to end"
    assert {kind.name for kind in KINDS.values() if kind.family == "crowd.caution"} == {
        "crowd.caution", "crowd.alert", "crowd.serious", "crowd.cleared",
    }  # fmt: skip


@given(kind=st.sampled_from(sorted(KINDS)), other=st.sampled_from(sorted(KINDS)), severity=st.integers(0, 4))
def test_all_of_a_family_are_numbered_at_one_pace(kind: str, other: str, severity: int) -> None:
    if KINDS[kind].family:
        assert urgency(kind, severity) >= KINDS[kind].severity
        if KINDS[kind].family == KINDS[other].family:
            assert urgency(kind, severity) == urgency(other, 4 - severity)
    else:
        assert urgency(kind, severity) == severity
    assert urgency("crowd.cleared", 0) == EMERGENCY


@given(
    kind=st.sampled_from(sorted(KINDS)),
    names=st.sets(st.sampled_from(sorted({field.name for _, field in FIELDS} | {"unknown", "이름"}))),
)
def test_a_higher_sight_is_told_all_that_a_lower_one_is(kind: str, names: set[str]) -> None:
    data = dict.fromkeys(names, "x")
    told = [seen(kind, data, sight) for sight in Sight]
    assert told[0].items() <= told[1].items() <= told[2].items()
    assert told[2] == data
    known = {field.name: field.sight for field in KINDS[kind].fields}
    for sight, what in zip(Sight, told, strict=True):
        assert set(what) == {name for name in names if known.get(name, Sight.OWNER) <= sight}


PERSONAL = (
    "caller_name",
    "caller_phone",
    "reporter",
    "person_description",
    "note",
    "by",
    "summary",
    "address",
    "serial",
)


def test_what_tells_of_persons_is_not_for_partners() -> None:
    personal = {(kind.name, field.name): field.sight for kind, field in FIELDS if field.name in PERSONAL}
    assert {name for _, name in personal} == set(PERSONAL)
    assert Sight.PARTNER not in personal.values()
    for name in ("caller_name", "caller_phone", "reporter", "by"):
        assert {sight for (_, field), sight in personal.items() if field == name} == {Sight.OWNER}
    assert seen("alarm.acknowledged", {"room": ID, "by": "hong"}, Sight.RESPONDER) == {"room": ID}
    assert seen("no.such_kind", {"a": 1}, Sight.RESPONDER) == {}


def test_the_document_is_made_of_the_catalogue() -> None:
    written = (Path(__file__).parents[2] / "docs" / "EVENTS.md").read_text()
    assert written == document.markdown(), "make it anew: python -m app.events.document > docs/EVENTS.md"
    for kind in KINDS.values():
        assert f"| `{kind.name}`" in written
        assert kind.label in written
        for field in kind.fields:
            assert f"| `{field.name}` | {field.label} |" in written
