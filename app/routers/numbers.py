"""The numbers that officials ask for: densities, ranks, shares, progress of an area and its parts."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.registry import numbers
from app.registry.numbers import OUTDATED_PIXELS_10K, OUTDATED_YEARS, Limits
from app.routers.dependencies import Asker, Transaction, problems, tagged

router = APIRouter(prefix="/v1", tags=["numbers"])
CSV = "text/csv; charset=utf-8"


@router.get(
    "/areas/{area}/numbers",
    responses=problems(401, 403, 404)
    | {
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        304: {"description": "you have it already"},
    },
)
async def of_area(
    area: str,
    request: Request,
    session: Transaction,
    actor: Asker,
    older_than_years: Annotated[float, Query(gt=0, le=100, allow_inf_nan=False)] = OUTDATED_YEARS,
    fewer_pixels_10k: Annotated[int, Query(ge=1, le=100_000, description="만 화소: 200 is 2 MP")] = OUTDATED_PIXELS_10K,
    format: Annotated[str, Query(pattern="^(json|csv)$")] = "json",  # noqa: A002 - the public name
) -> Response:
    """An area (id or code) and its parts: what stands there of what you may locate, per km², ranked, by kind."""
    told = await numbers.of_area(session, actor, area, Limits(older_than_years, fewer_pixels_10k))
    if format == "csv":
        name = f"gwanje-{told['area']['code']}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-cache"}
        return Response(numbers.as_csv(told), headers=headers, media_type=CSV)
    return tagged(request, told)
