"""Signing in and out, and who one is."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.access import passwords, people, sessions
from app.access.sessions import Attempt, SignedIn
from app.errors import Refusal
from app.routers.dependencies import (
    NO_STORE,
    Asker,
    AskerAlone,
    House,
    InHouse,
    Transaction,
    answer,
    client_address,
    problems,
)
from app.streams import duties

router = APIRouter(prefix="/v1", tags=["sessions"])

Text = Annotated[str, Field(min_length=1, max_length=200)]


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")

    login: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    password: Text
    agency_id: UUID | None = Field(None, description="which appointment, for who has several")
    terminal_key: str = Field("", max_length=200, description="device key of an enrolled console or tablet")


class Opened(BaseModel):
    access_token: str
    token_type: str
    expires_at: str


class NextPerson(BaseModel):
    """Who takes the console over; terminal and wall are those of the running session."""

    model_config = ConfigDict(extra="forbid")

    login: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    password: Text
    agency_id: UUID | None = Field(None, description="which appointment, for who has several")


class MovedGrant(BaseModel):
    old_grant_id: UUID
    grant_id: UUID


class TakenOver(Opened):
    duty_id: UUID
    grants: list[MovedGrant]


class NewPassword(BaseModel):
    model_config = ConfigDict(extra="forbid")

    current_password: Text
    password: Text


@router.post("/sessions", status_code=201, response_model=Opened, responses=problems(401, 429))
async def sign_in(body: Login, request: Request, house: InHouse) -> Response:
    """Sign in. The token is shown once; send it as `Authorization: Bearer …`."""
    attempt = Attempt(body.login, body.password, client_address(request), body.agency_id, body.terminal_key)
    proof = await _proof(house, attempt)
    async with house.database.begin() as session:
        result = await sessions.sign_in(session, attempt, proof=proof, hours=house.settings.session_hours)
    house.poke({"audit"})
    if isinstance(result, Refusal):  # its audit entry is committed by now
        raise result
    assert isinstance(result, SignedIn)
    opened = {"access_token": result.access_token, "token_type": "Bearer", "expires_at": result.expires_at}
    return answer(opened, status=201, headers=NO_STORE)


async def _proof(house: House, attempt: Attempt) -> str | None:
    """The hash that the attempt's password fits, compared while no connection is held."""
    async with house.database.begin() as session:
        secret_hash = await sessions.secret_of(session, attempt)
    return secret_hash if await passwords.matches(attempt.password, secret_hash) else None


@router.delete("/sessions/current", status_code=204, responses=problems(401))
async def sign_out(session: Transaction, actor: Asker) -> Response:
    """Sign out: the token is dead on every worker, its feeds close and its views are cut."""
    await sessions.sign_out(session, actor)
    return Response(status_code=204)


@router.post(
    "/sessions/current/sign-over", status_code=201, response_model=TakenOver, responses=problems(401, 403, 429)
)
async def sign_over(body: NextPerson, request: Request, house: InHouse, running: AskerAlone) -> Response:
    """The next person signs in over a running console, with its token: duty and walls go on under the new session.

    The running session ends with what else it was given; the answer tells under which grant each wall runs on. With a
    wrong password (401) or another institution's person (403) the running session goes on untouched.
    """
    attempt = Attempt(body.login, body.password, client_address(request), body.agency_id)
    proof = await _proof(house, attempt)
    async with house.database.begin() as session:
        result = await duties.sign_over(
            session, running, attempt, proof=proof, hours=house.settings.session_hours
        )  # fmt: skip
    house.poke({"audit"})
    if isinstance(result, Refusal):  # its audit entry is committed by now
        raise result
    taken_over = {
        "access_token": result.access_token, "token_type": "Bearer", "expires_at": result.expires_at,
        "duty_id": result.duty_id,
        "grants": [{"old_grant_id": one.old_grant_id, "grant_id": one.grant_id} for one in result.grants],
    }  # fmt: skip
    return answer(taken_over, status=201, headers=NO_STORE)


@router.get("/me", responses=problems(401))
async def me(actor: Asker) -> Response:
    """Who the token speaks for, and what that role lets one do."""
    return answer(
        {
            "user_id": actor.user_id, "login": actor.login, "role": actor.role,
            "agency": {"id": actor.agency_id, "name": actor.agency_name}, "capabilities": sorted(actor.capabilities),
            "session_id": actor.session_id, "expires_at": actor.expires_at,
        },
        headers=NO_STORE,
    )  # fmt: skip


@router.put("/me/password", status_code=204, responses=problems(401, 429))
async def change_password(body: NewPassword, house: InHouse, actor: AskerAlone) -> Response:
    """Change one's own password, which one must know; all sessions end, this one included."""
    attempt = Attempt(actor.login, body.current_password, actor.address)
    known = await _proof(house, attempt) is not None
    async with house.database.begin() as session:
        if known:
            await people.change_password(session, actor, actor.user_id, body.password)
        refusal = None if known else await sessions.refuse(session, attempt)
    house.poke({"audit"})
    if refusal is not None:
        raise refusal
    return Response(status_code=204)


@router.post("/feed/tickets", status_code=201, responses=problems(401))
async def feed_ticket(session: Transaction, actor: Asker) -> Response:
    """A single-use ticket for `hello` on /v1/feed, good for 30 s: for browsers."""
    ticket = await sessions.ticket(session, actor)
    return answer({"ticket": ticket, "expires_in": sessions.TICKET_SECONDS}, status=201, headers=NO_STORE)
