"""The media gateways, for administrators: what each carries and how it is. They are drained by command (`gwanje`)."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app.actor import Actor
from app.routers.dependencies import InHouse, answer, problems, require

router = APIRouter(prefix="/v1", tags=["gateways"])


@router.get("/gateways", responses=problems(401, 403))
async def list_gateways(house: InHouse, _: Annotated[Actor, Depends(require("administer"))]) -> Response:
    """Every media gateway with its zones, capacity, load and health."""
    items = [
        {
            **{name: value for name, value in asdict(known).items() if name != "public_urls"},
            "zones": sorted(known.public_urls),
            "usable": known.usable,
        }
        for known in house.gateways.all()
    ]
    return answer({"items": items}, headers={"Cache-Control": "no-store"})
