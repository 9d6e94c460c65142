"""The door for other agencies' logs, which have this service cosign their checkpoints (c2sp.org/tlog-witness).

Nobody signs in: what counts is the log's signature. Answers are texts, as the protocol has them.
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import PlainTextResponse

from app.audit import witnessed
from app.audit.witness import MOST_BYTES, SIZE_TYPE
from app.routers.dependencies import NO_STORE, InHouse, Transaction, answer, problems

router = APIRouter(prefix="/v1/witness", tags=["witness"])
BODY_SECONDS = 10


def _told(description: str, media_type: str = "text/plain") -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


ANSWERS: dict[int | str, dict[str, Any]] = {
    **problems(),
    400: _told("not a request of the protocol, or old is more than the checkpoint's size"),
    403: _told("the log has not signed this checkpoint"),
    404: _told("this log is not known here"),
    409: _told("the size of the checkpoint that was cosigned last", SIZE_TYPE),
    422: _told("the checkpoint does not go on from the one that was cosigned last"),
}


@router.post("/add-checkpoint", responses=ANSWERS, response_class=PlainTextResponse)
async def add_checkpoint(request: Request, house: InHouse) -> Response:
    """Cosign a known log's checkpoint that goes on from the last one: `old N`, a consistency proof, the checkpoint."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = b""
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    break
    except TimeoutError:
        body = b""
    async with house.database.begin() as session:
        said = await witnessed.add_checkpoint(session, *house.witness_of, body)
    return Response(said.text, said.status, NO_STORE | {"Content-Type": said.media_type})  # as it is, without a charset


@router.get("/key", responses=problems())
async def key(house: InHouse) -> Response:
    """The name and the public key (vkey) of this service as a witness."""
    who, logs = house.witness_of
    return answer({"name": who.name, "vkey": who.key.vkey, "logs": [log.name for log in logs]})


@router.get("/{origin_hash}/checkpoint", responses=problems(404), response_class=PlainTextResponse)
async def newest(
    session: Transaction,
    origin_hash: Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the log's origin, in hex")],
) -> Response:
    """The newest checkpoint of a log that was cosigned here: who compares it with the log's own finds a split view."""
    return PlainTextResponse(await witnessed.newest(session, origin_hash), headers=NO_STORE)
