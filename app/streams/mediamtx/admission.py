"""MediaMTX asks before a player plays; what is answered, and the view that is opened for a yes.

It asks one question at a time (its path manager waits for each answer), so an answer takes no call to MediaMTX itself,
which would wait for us in turn. WebRTC and HLS ask once a session. RTSP asks twice: at DESCRIBE in the name of the
connection, at SETUP in the name of the session, with the same token; both are one view.
"""

import asyncio
import hmac
import logging
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import asyncpg
import orjson

from app.database import LOST, Database
from app.errors import GrantEnded, Kind, Refusal
from app.keys import Keys
from app.streams import urls, views
from app.streams.mediamtx.config import Config, secret_of
from app.streams.mediamtx.paths import read_name
from app.streams.urls import Pass
from app.streams.views import Asking, Carrier, Opened
from app.streams.writer import Writer, unavailable

log = logging.getLogger("gwanje.mediamtx")

MOST_BYTES = 16 << 10
ANSWER_SECONDS = 2.9
PROTOCOLS = {"webrtc": "whep", "hls": "hls", "rtsp": "rtsps"}
_PAIR_SECONDS = 15.0  # between DESCRIBE and SETUP the source has to start
_MOST_TOKEN = 200

# The view that a question is about already: of this very session, or of the connection over which the session came.
_ABOUT = """
SELECT g.manifested, v.id, v.at, v.session_ref FROM grants g
LEFT JOIN LATERAL (
    SELECT id, at, session_ref FROM views
    WHERE gateway = $1 AND grant_id = $2 AND grant_at = $3 AND camera_id = $4 AND protocol = $5 AND closed_at IS NULL
        AND preempted_by IS NULL AND peer = $7
        AND ($6 = ANY(string_to_array(session_ref, ' '))
            OR ($5 = 'rtsps' AND position(' ' IN session_ref) = 0 AND bytes = 0
                AND at > now() - make_interval(secs => $8)))
    ORDER BY at DESC LIMIT 1
) v ON true
WHERE g.id = $2 AND g.at = $3
"""
_PAIR = """
UPDATE views SET session_ref = session_ref || ' ' || $3
WHERE id = $1 AND at = $2 AND closed_at IS NULL AND position(' ' IN session_ref) = 0 RETURNING true
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What a player wants, as MediaMTX tells it (the body of `authHTTPAddress`)."""

    action: str
    protocol: str
    path: str
    id: str
    """The session's, or the connection's; empty where nobody plays yet (a page, a WHEP preflight)."""
    peer: str
    token: str = field(repr=False)
    proof: str = field(repr=False)

    @classmethod
    def read(cls, body: bytes) -> "Question":
        """Raises ValueError for what MediaMTX does not say."""
        said = orjson.loads(body) if len(body) <= MOST_BYTES else None
        if not isinstance(said, dict):
            raise ValueError("not a question")  # noqa: TRY004 - one kind of error for one kind of nonsense
        query = parse_qs(_text(said, "query"), max_num_fields=20, keep_blank_values=True)
        everywhere = [_text(said, "token"), *query.get("token", []), _text(said, "password")]
        carried = {one.rstrip("/") for one in everywhere} - {""}  # RTSP clients add a slash to what ends in a query
        token = carried.pop() if len(carried) == 1 else ""  # two different ones are none
        ident = said.get("id")
        return cls(
            action=_text(said, "action"),
            protocol=PROTOCOLS.get(_text(said, "protocol"), ""),
            path=_text(said, "path"),
            id=str(UUID(ident)) if isinstance(ident, str) and ident else "",
            peer=str(ip_address(_text(said, "ip"))),
            token=token if len(token) <= _MOST_TOKEN else "",
            proof=next(iter(query.get("proof", [])), "")[:100],
        )


class Admission:
    """The one that answers, for one gateway, in every process."""

    def __init__(self, config: Config, carrier: Carrier, keys: Keys, database: Database, writer: Writer) -> None:
        self._config, self._carrier, self._keys = config, carrier, keys
        self._database, self._writer = database, writer
        self.draining = False

    async def answer(self, secret: str, peer: str, body: bytes) -> int:
        """An HTTP status for a question that came to our door: 204 let it play; 401 ask for a token; 403; 503.

        Whatever goes wrong is a no.
        """
        try:
            expected = secret_of(self._keys, self._config.name)
            if not hmac.compare_digest(expected.encode(), secret.encode()) or not self._config.may_call(peer):
                log.warning("somebody asked in the name of a gateway", extra={"gateway": self._config.name})
                return Kind.FORBIDDEN.status
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._answer(Question.read(body))
        except Refusal as refusal:
            log.info("a player was refused: %s", refusal.code, extra={"gateway": self._config.name})
            return _STATUSES.get(refusal.kind, Kind.FORBIDDEN.status)
        except LOST:
            return Kind.UNAVAILABLE.status
        except ValueError:
            return Kind.FORBIDDEN.status

    async def _answer(self, question: Question) -> int:
        if question.action != "read" or not question.protocol:
            return Kind.FORBIDDEN.status
        named = read_name(self._keys, self._config.name, question.path)
        if named is None:
            return Kind.FORBIDDEN.status
        if not question.token:
            return Kind.ANONYMOUS.status  # players that keep their token for the second try
        ticket = urls.read(self._keys, question.token)
        if (ticket.camera_id, ticket.profile) != named:
            raise GrantEnded("this URL is for another camera")
        asking = Asking(question.protocol, question.peer, question.proof, question.id)
        if question.id:
            await self.open(ticket, asking)
        else:
            await self.check(ticket, asking)
        return 204

    async def check(self, ticket: Pass, asking: Asking) -> views.Permit:
        """Whether this player may play, without a view: nothing is played by it."""
        self._refuse_while_draining()
        async with self._database.bare.acquire(timeout=1) as connection:
            allowed = await views.permit(connection, ticket, asking)
        _refuse_walls(bool(allowed.facts["manifested"]))
        return allowed

    async def open(self, ticket: Pass, asking: Asking) -> Opened:
        """The view of this session: the standing one, or a new one, committed. Refusals as `views.open` has them."""
        self._refuse_while_draining()
        try:
            async with self._database.bare.acquire(timeout=1) as connection:
                about = await connection.fetchrow(
                    _ABOUT, self._config.name, ticket.grant_id, ticket.grant_at, ticket.camera_id, asking.protocol,
                    asking.session_ref, asking.peer, _PAIR_SECONDS, timeout=2,
                )  # fmt: skip
            _refuse_walls(about is not None and about["manifested"])
            if about is not None and about["id"] is not None and await self._is_of(about, asking):
                allowed = await self.check(ticket, asking)
                return Opened(about["id"], about["at"], allowed, asking.protocol, asking.peer)
        except LOST as error:
            raise unavailable() from error
        return await views.open(self._writer, ticket, asking, self._carrier)

    async def _is_of(self, about: asyncpg.Record, asking: Asking) -> bool:
        if asking.session_ref in about["session_ref"].split(" "):
            return True
        found = await self._writer.transact(
            lambda connection: connection.fetchval(_PAIR, about["id"], about["at"], asking.session_ref)
        )
        return bool(found)

    def _refuse_while_draining(self) -> None:
        if self.draining:
            raise GrantEnded("this gateway is being drained; ask for the grant again, it leads elsewhere")


def _refuse_walls(manifested: bool) -> None:
    if manifested:
        raise GrantEnded("a wall's tiles are shown by the embedded gateway; ask for fmp4, mse or hls there")


_STATUSES = {Kind.ANONYMOUS: Kind.ANONYMOUS.status, Kind.UNAVAILABLE: Kind.UNAVAILABLE.status}


def node_of(gateway: str) -> str:
    """Under which name the views of a gateway live on, whichever process opened them: it outlives them all."""
    return f"gateway/{gateway}"


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("not a question")  # noqa: TRY004 - see above
    return value
