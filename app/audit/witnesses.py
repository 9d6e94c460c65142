"""The witnesses of our own log: they are shown its newest checkpoint once a minute, and their cosignatures are kept.

Nothing waits for them: where one is away, the log goes on, and who checks it sees since when nobody has seen it.
"""

import asyncio
import logging
from dataclasses import dataclass

import asyncpg
import httpx

from app.audit import export, verify
from app.audit.checkpoints import Notary
from app.audit.verify import COSIGNATURE, Checkpoint, Key, Unusable, Wrong
from app.database import LOST, Database

log = logging.getLogger("gwanje.audit")

EACH_SECONDS = 60.0
PATIENCE_SECONDS = 15.0
MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class Known:
    """Where a witness is asked (its submission prefix), and the key by which it is believed."""

    url: str
    key: Key


def read_witnesses(written: str) -> list[Known]:
    """`URL VKEY, URL VKEY, …`; ValueError for what is none."""
    found = []
    for one in filter(None, (part.strip() for part in written.split(","))):
        url, _, vkey = one.partition(" ")
        try:
            key = Key.read(vkey)
        except Unusable as error:
            raise ValueError(f"a witness is written: its URL, a space, its vkey: {error}") from None
        if not url.startswith(("http://", "https://")) or key.kind != COSIGNATURE:
            raise ValueError("a witness is written: its URL (http, https), a space, its vkey (of kind 4)")
        found.append(Known(url.rstrip("/"), key))
    return found


class Witnesses:
    """Shows the log to its witnesses for as long as `run` runs; of several processes each may."""

    def __init__(self, database: Database, notary: Notary, known: list[Known]) -> None:
        self._database, self._notary, self.known = database, notary, known
        self._sizes: dict[str, int] = {}  # what each has last seen, as far as this process knows

    async def run(self) -> None:
        """Ask every witness, once a minute."""
        async with httpx.AsyncClient(timeout=5, follow_redirects=False, trust_env=False) as client:
            while True:
                await asyncio.gather(*(self._try(client, one) for one in self.known))
                await asyncio.sleep(EACH_SECONDS)

    async def _try(self, client: httpx.AsyncClient, one: Known) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.ask(client, one)
        except (*LOST, httpx.HTTPError, Unusable) as error:
            log.warning("the witness %s has not cosigned: %s %s", one.key.name, type(error).__name__, error)
        except Wrong as wrong:
            log.critical("THE WITNESS %s CONTRADICTS THE LOG: %s", one.key.name, wrong)

    async def ask(self, client: httpx.AsyncClient, one: Known) -> bool:
        """Have one witness cosign the newest checkpoint; whether there was something new to cosign.

        Wrong when it has seen another history than this log now is; Unusable when its answer is none.
        """
        old = self._sizes.get(one.key.name, 0)
        for _ in range(2):
            async with self._database.bare.acquire() as connection:
                note = await self._notary.publish(connection)
                text, signatures = verify.split_note(note)
                now = Checkpoint.of_text(text)
                if (one.key.name, one.key.id) in {(name, signed[:4]) for name, signed in signatures}:
                    return False
                if old > now.size:
                    raise Wrong(f"it has seen {old} entries, and now there are {now.size}: was a backup restored?")
                proof = await self._notary.consistency(connection, old, now.size)
            body = f"old {old}\n{export.hashes(proof)}\n{note}"
            status, said = await _post(client, f"{one.url}/add-checkpoint", body)
            if status == 409:  # noqa: PLR2004 - it has seen another size, which it tells
                old = verify.number(said.strip())
                self._sizes[one.key.name] = old
                continue
            if status == 422:  # noqa: PLR2004 - the proof does not hold for it
                raise Wrong(f"it refused {now.size} entries after {old}: {said.strip()[:200]}")
            if status != 200:  # noqa: PLR2004
                raise Unusable(f"it answered {status}: {said.strip()[:200]}")
            async with self._database.bare.acquire() as connection:
                await _keep(connection, now, cosignatures(note, said, one.key))
            self._sizes[one.key.name] = now.size
            return True
        raise Unusable("it named its size, and then another one; other processes may be asking, too")


def cosignatures(note: str, said: str, key: Key) -> str:
    """The lines of an answer that are a witness's cosignature of the note; Unusable when there is none."""
    own = [line for line in said.split("\n") if line.startswith(f"— {key.name} ")]
    for line in own:
        try:
            if key.name in verify.open_note(f"{note}{line}\n", [key])[1]:
                return f"{line}\n"
        except Wrong as wrong:
            raise Unusable(str(wrong)) from None
    raise Unusable("its answer holds no cosignature of its own")


async def _keep(connection: asyncpg.Connection, checkpoint: Checkpoint, line: str) -> None:
    await connection.execute("SELECT audit_cosign($1, $2, $3)", checkpoint.origin, checkpoint.size, line)


async def _post(client: httpx.AsyncClient, url: str, body: str) -> tuple[int, str]:
    said = b""
    async with client.stream("POST", url, content=body.encode(), headers={"Content-Type": "text/plain"}) as response:
        async for part in response.aiter_bytes():
            said += part
            if len(said) > MOST_BYTES:
                raise Unusable(f"it answered with more than {MOST_BYTES} bytes")
    return response.status_code, said.decode(errors="replace")
