"""Who acts in a test of the domain: a person of an agency with a session of its own, without a login's cost."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import passwords, sessions
from app.access.sessions import Attempt, SignedIn
from app.actor import Actor
from app.database import Database
from app.errors import WrongCredentials
from app.ids import new_id
from app.models import Session
from tests import factories

ADDRESS = "203.0.113.5"


async def actor(database: Database, agency_id: UUID, role: str = "operator") -> Actor:
    """A new person in this role, signed in."""
    return await actor_of(database, await factories.person(database, agency_id, role))


async def actor_of(database: Database, who: factories.Person) -> Actor:
    """The person, signed in."""
    session_id = new_id()
    async with database.begin() as session:
        await session.execute(
            insert(Session).values(
                id=session_id,
                token_digest=session_id.bytes,
                user_id=who.user_id,
                appointment_id=who.appointment_id,
                address=ADDRESS,
                expires_at=func.now() + timedelta(hours=1),
            )
        )
        return await sessions.of_session(session, session_id, ADDRESS)


async def log_in(session: AsyncSession, attempt: Attempt, hours: float = 8) -> SignedIn | WrongCredentials:
    """A login as the door does it, in one transaction."""
    secret_hash = await sessions.secret_of(session, attempt)
    fits = await passwords.matches(attempt.password, secret_hash)
    return await sessions.sign_in(session, attempt, proof=secret_hash if fits else None, hours=hours)
