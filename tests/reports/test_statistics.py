"""Statistics against a count by hand, without restricted rows and drills; charts that are sound and say what they show."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actor import Actor
from app.database import Database
from app.errors import Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.reports import charts, statistics
from app.reports.calendar import Month
from app.reports.statistics import Row, Statistics
from tests import factories
from tests.actors import actor
from tests.reports.past import MONTH, Past, at

SVG = "{http://www.w3.org/2000/svg}"
POLICE_TERMS = {"basis": "KR-PIPA-18-2-7", "purpose": "crime_investigation"}


async def of(
    database: Database, who: Actor, agency: Any = None, first: Month = MONTH, last: Month = MONTH
) -> Statistics:
    async with database.begin() as session:
        return await statistics.of_agency(session, who, agency, first, last)


def counts(made: Statistics, part: str) -> dict[str, dict[str, float]]:
    return {row.key: dict(row.counts) for row in made.parts[part] if row.counts}


@pytest.fixture
async def busy(database: Database) -> tuple[Past, Any]:
    """Two views of the own operator, three of the police (one restricted, one a drill), a refusal; and another month."""
    past, police = await Past.of(database), await factories.agency(database, "police")
    camera, other = await past.camera(), await past.camera()
    own, officer = await past.person(), await past.person("room", police)
    await past.view(own, camera, at(3, 9), seconds=10, first_byte_after=1)
    await past.view(own, camera, at(30, 23.9), seconds=20)  # still September in Korea
    await past.view(officer, camera, at(4, 9.5), first_byte_after=2.5, **POLICE_TERMS)
    await past.view(officer, other, at(4, 10), restriction="protected", **POLICE_TERMS)
    await past.view(officer, other, at(4, 10), exercise=True, **POLICE_TERMS)
    await past.view(own, other, at(31, 1))  # October
    await past.refused(officer, camera, at(5), reason="camera_not_shared")
    return past, police


async def test_the_numbers_are_those_counted_by_hand(database: Database, busy: tuple[Past, Any]) -> None:
    past, police = busy
    head = await actor(database, past.agency, "oversight")
    made = await of(database, head)
    assert counts(made, "month") == {"2026-09": {"views": 3, "seconds": 60, "grants": 3, "exercises": 1, "refusals": 1}}
    assert {key: value["views"] for key, value in counts(made, "hour").items()} == {"9": 2, "23": 1}
    assert {key: value["views"] for key, value in counts(made, "purpose").items()} == {"": 2, "crime_investigation": 1}
    assert counts(made, "basis")["KR-PIPA-18-2-7"]["views"] == 1
    assert counts(made, "agency")[str(police)] == {
        "views": 1,
        "seconds": 30,
        "grants": 1,
        "exercises": 1,
        "refusals": 1,
    }
    (camera,) = made.parts["camera"]
    assert camera.counts["views"] == 3
    assert [len(made.parts[part]) for part in ("month", "hour")] == [1, 24]
    assert made.waits["2026-09"]["from_asking"] == pytest.approx(1.75)
    assert made.waits["2026-09"]["from_call"] is None
    two = await of(database, head, last=MONTH.after(1))
    assert {key: value["views"] for key, value in counts(two, "month").items()} == {"2026-09": 3, "2026-10": 1}
    seen_by_police = await of(database, await actor(database, police, "auditor"))
    assert counts(seen_by_police, "month")["2026-09"]["views"] == 2, "the restricted one is theirs"


async def test_statistics_are_for_the_remit(database: Database, busy: tuple[Past, Any]) -> None:
    past, police = busy
    committee = await factories.agency(database, "oversight")
    above = await actor(database, committee, "oversight")
    with pytest.raises(NotFound):
        await of(database, above, past.agency)
    await database.bare.execute("UPDATE agencies SET ancestor_ids = $2 WHERE id = $1", past.agency, [committee])
    assert counts(await of(database, above, past.agency), "month")["2026-09"]["views"] == 3
    with pytest.raises(NotPermitted):
        await of(database, await actor(database, past.agency))
    with pytest.raises(NotFound):
        await of(database, await actor(database, past.agency, "admin"), police)
    for first, last in ((MONTH, MONTH.after(-1)), (MONTH, MONTH.after(24))):
        with pytest.raises(Malformed):
            await of(database, above, first=first, last=last)


async def test_as_csv_and_as_pictures(database: Database, client: httpx.AsyncClient, busy: tuple[Past, Any]) -> None:
    past, _ = busy
    await database.bare.execute(
        "UPDATE agencies SET name = $2 WHERE id = $1", past.agency, f"=HYPERLINK(1)<&{past.agency.hex[:6]}"
    )
    headers = await factories.sign_in(client, await past.person("agency_head"))
    path = "/v1/reports/statistics?since_month=2026-09&until_month=2026-09"
    answer = await client.get(f"{path}&format=csv", headers=headers)
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert rows[0] == ["구분", "코드", "이름", "승인", "훈련 승인", "거부", "조회", "조회 시간(초)"]
    assert ["월별", "2026-09", "2026-09", "3", "1", "1", "3", "60"] in rows
    assert any(row[2].startswith("'=HYPERLINK") for row in rows)
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    shown = (await client.get(path, headers=headers)).json()
    assert shown["by"]["month"][0]["views"] == 3
    for part in statistics.PARTS:
        chart = await client.get(
            f"/v1/reports/statistics/charts/{part}?since_month=2026-09&until_month=2026-09", headers=headers
        )
        assert chart.status_code == 200, chart.text
        assert chart.headers["content-type"] == "image/svg+xml"
        assert "default-src 'none'" in chart.headers["content-security-policy"]
        root = ET.fromstring(chart.text)
        assert "=HYPERLINK(1)<&" in (root.findtext(f"{SVG}title") or "")
        assert root.findtext(f"{SVG}desc")
    operator = await factories.sign_in(client, await past.person())
    assert (await client.get(path, headers=operator)).status_code == 403
    read = "SELECT count(*) FROM audit_entries WHERE act = 'report.read' AND owner_agency_id = $1"
    assert await database.bare.fetchval(read, past.agency) == 2 + len(statistics.PARTS)


@given(
    st.lists(st.tuples(st.text(max_size=40), st.floats(0, 1e12)), max_size=60),
    st.text(max_size=40), st.sampled_from([charts.bars, charts.line]),
)  # fmt: skip
def test_whatever_is_charted_is_well_formed_and_stays_in_its_frame(values: Any, title: str, draw: Any) -> None:
    svg = draw(title, title, values, "건")
    root = ET.fromstring(svg)
    assert not re.search(r"<(script|foreignObject|image|a|style)\b|\bon\w+=|href", re.sub(r">[^<]*<", "><", svg))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.attrib["width"]) <= width
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height


def test_axes_end_at_round_numbers() -> None:
    assert [charts.nice_top(value) for value in (0, 3, 5, 6, 10, 11, 49, 51, 700, 1001)] == [
        5, 5, 5, 10, 10, 20, 50, 100, 1000, 2000,
    ]  # fmt: skip


def test_bars_are_as_long_as_their_values() -> None:
    root = ET.fromstring(charts.bars("제목", "설명", [("가", 50), ("나", 100), ("다", 0)]))
    widths = [float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect")][1:]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)
    assert widths[2] == 0


def test_unknown_charts_are_none() -> None:
    made = Statistics(new_id(), "기관", MONTH, MONTH, {"month": [Row("x", "x", "x", {})]}, {})
    for part, count in (("month", "money"), ("money", "views")):
        with pytest.raises(NotFound):
            statistics.chart(made, part, count)
