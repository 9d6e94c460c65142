"""The door at which media gateways ask whether a player may play. Not for people: its path is a secret."""

from fastapi import APIRouter, Request, Response

from app.routers.dependencies import InHouse, client_address
from app.streams.mediamtx import MOST_BYTES, MediaMtx

router = APIRouter(prefix="/internal/gateways", tags=["operation"])


async def _bounded(request: Request) -> bytes:
    """The body, or as much of it as is too much already."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


@router.post(
    "/{name}/{secret}",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "let it play: the view is opened and committed"},
        401: {"description": "ask the player for a token"},
        403: {"description": "no"},
        503: {"description": "not now: nothing can be recorded"},
    },
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}},
)
async def ask(name: str, secret: str, request: Request, house: InHouse) -> Response:
    """MediaMTX asks (`authMethod: http`) before it lets anybody read. Answers have no body: it would log it."""
    gateway = house.gateways.driven(name)
    body = await _bounded(request)
    if not isinstance(gateway, MediaMtx):
        return Response(status_code=403)
    return Response(status_code=await gateway.answer(secret, client_address(request), body))
