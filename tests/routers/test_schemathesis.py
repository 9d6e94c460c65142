"""What schemathesis makes up from our own OpenAPI: no accident of ours, and no answer that is not documented."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import delete

from app.database import Database
from app.models import LoginPace
from tests import factories

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
ENDLESS = ("/v/{token}/live.mp4",)
ROLES = {
    "/v1/agreements": "agency_head",
    "/v1/agreements/{agreement_id}/withdrawal": "agency_head",
    "/v1/cameras/{camera_id}/source": "admin",
    "/v1/cameras/{camera_id}/control": "admin",
    "/v1/cameras/{camera_id}/probe": "admin",
    "/v1/cameras/{camera_id}/proposals": "admin",
    "/v1/cameras/{camera_id}/ptz-leases": "operator",
    "/v1/audit/entries": "auditor",
    "/v1/audit/export": "auditor",
    "/v1/audit/erasures": "agency_head",
    "/v1/audit/erasures/{order_id}/decision": "agency_head",
    "/v1/imports": "admin",
    "/v1/exports/cameras": "admin",
    "/v1/assets": "admin",
    "/v1/programmes": "admin",
    "/v1/terminals": "admin",
    "/v1/terminals/{terminal_id}": "admin",
    "/v1/gateways": "admin",
    "/v1/approvals/{approval_id}": "agency_head",
    "/v1/approvals/{approval_id}/decision": "agency_head",
    "/v1/revocations": "shift_lead",
    "/v1/walls": "operator",
    "/v1/walls/{wall_id}": "operator",
    "/v1/tours": "shift_lead",
    "/v1/provisions": "admin",
    "/v1/provisions/{provision_id}": "admin",
    "/v1/reports/registers": "admin",
    "/v1/reports/publications": "admin",
    "/v1/reports/publications/due": "admin",
    "/v1/reviews": "auditor",
    "/v1/reviews/{review_id}": "auditor",
    "/v1/reports/accesses/searches": "auditor",
    "/v1/reports/statistics": "oversight",
    "/v1/reports/statistics/charts/{part}": "agency_head",
    "/v1/subject-requests": "admin",
    "/v1/subject-requests/{request_id}": "admin",
    "/v1/subject-requests/{request_id}/decision": "agency_head",
}
EACH = hypothesis_settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
async def _no_pace_is_left(database: Database) -> AsyncIterator[None]:
    """The logins that are made up fail from the one address that all tests have."""
    yield
    async with database.begin() as session:
        await session.execute(delete(LoginPace))


def fuzz(operation: Any, headers: dict[str, str], most: int) -> tuple[int, set[int]]:
    """Call one operation, up to so often with what it asks for and so often with what it does not; returns how often
    it was, and the statuses seen.
    """
    calls, statuses = 0, set()
    for mode in MODES:

        @given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis_settings(EACH, max_examples=most)
        def call(case: Any) -> None:
            nonlocal calls
            if isinstance(case.query, dict):
                case.query.pop("wait", None)  # it would wait
            response = case.call(headers=headers, timeout=30)
            if response.status_code == 503:  # "not possible at the moment": on a busy machine; it must not stay so
                time.sleep(2)
                response = case.call(headers=headers, timeout=30)
            calls += 1
            statuses.add(response.status_code)
            case.validate_response(response, checks=CHECKS, headers=headers)

        try:
            call()
        except Unsatisfiable:  # what takes no parameters cannot be asked wrongly
            assert mode is schemathesis.GenerationMode.NEGATIVE
    return calls, statuses


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("most", [4, pytest.param(50, marks=[pytest.mark.drill, pytest.mark.timeout(3600)])])
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the fuzzer's own strategies do, now and then
async def test_nothing_made_up_finds_an_accident_or_an_undocumented_answer(
    client: httpx.AsyncClient, base_url: str, database: Database, most: int
) -> None:
    schema = await asyncio.to_thread(schemathesis.openapi.from_url, f"{base_url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 25
    district = await factories.agency(database)
    failures, calls, statuses = {}, 0, set()
    asked = []
    for operation in operations:
        if operation.path not in ENDLESS:
            # Somebody new for each: some operations end the session that calls them. All before the first call, for
            # made-up passwords slow this address down.
            who = await factories.person(database, district, ROLES.get(operation.path, "room"))
            asked.append((operation, await factories.sign_in(client, who) if operation.path != "/v1/sessions" else {}))
    for operation, headers in asked:
        try:
            made, seen = await asyncio.to_thread(fuzz, operation, headers, most)
        except (AssertionError, BaseExceptionGroup) as error:
            inside = [repr(one)[:500] for one in getattr(error, "exceptions", ())]
            failures[operation.label] = f"{type(error).__name__}: {error} {inside}"[:2500]
            continue
        calls += made
        statuses |= seen
    assert not failures, "\n\n".join(f"{label}\n{failure}" for label, failure in failures.items())
    assert calls > 300
    assert statuses >= {200, 201, 401, 404, 422}
