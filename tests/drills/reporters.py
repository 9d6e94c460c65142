"""Publishers: they report events under unique keys until they know what became of them, or rightly give up."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid4

import httpx

from tests.drills.checker import ACKED, FAILED, Publication

GIVES_UP = 0.05  # of the reports whose fate is unknown after an attempt, so many are not repeated
MOST_TOGETHER = 8
LATER = (429, 503)


class Reporter:
    """One reporting system. `places` are cameras by the name of their place; what it reported is in `publications`."""

    def __init__(
        self, base_url: str, headers: dict[str, str], places: Sequence[tuple[str, UUID]], *, seed: int = 0
    ) -> None:
        self._base_url, self._headers, self._places = base_url, headers, places
        self._draw = random.Random(seed)
        self.publications: list[Publication] = []
        self.statuses: Counter[int | str] = Counter()
        self.sent_at: dict[str, float] = {}
        self.slowest = 0.0  # seconds until an answer

    async def run(self, events: int, until: asyncio.Event | None = None, *, pace: float = 0.0) -> None:
        """Report so many events, and more at leisure until the event is set; `pace` is a pause after each request."""
        async with httpx.AsyncClient(base_url=self._base_url, headers=self._headers, timeout=12) as client:
            while len(self.publications) < events or (until is not None and not until.is_set()):
                enough = len(self.publications) >= events
                some = min(self._draw.choice((1, 1, 2, MOST_TOGETHER)), max(1, events - len(self.publications)))
                await self._report(client, [self._next() for _ in range(some)])
                if enough or pace:
                    await asyncio.sleep(max(pace, 0.05 if enough else 0.0))

    async def send(
        self, client: httpx.AsyncClient, *, place: str | None = None, padding: str = "", together: int = 1
    ) -> Publication:
        """Report events together, until they are acknowledged; returns the last."""
        publications = [self._next(place) for _ in range(together)]
        await self._report(client, publications, padding=padding, gives_up=0.0)
        assert publications[-1].outcome == ACKED, self.statuses
        return publications[-1]

    def _next(self, place: str | None = None) -> Publication:
        publication = Publication(uuid4().hex, place or self._draw.choice(self._places)[0])
        self.publications.append(publication)
        return publication

    def _event(self, publication: Publication, padding: str) -> dict[str, object]:
        data: dict[str, object] = {"bell_number": publication.key, "place": publication.place}
        if padding:
            data |= {"detail": padding, "cause": padding, "note": padding}
        return {
            "specversion": "1.0",
            "id": publication.key,
            "source": "bells",
            "type": "kr.gwanje.bell.tested",
            "severity": ("info", "notice", "warning", "alarm", "emergency")[int(publication.key[0], 16) % 5],
            "subject": f"cameras/{dict(self._places)[publication.place]}",
            "data": data,
        }

    async def _report(
        self,
        client: httpx.AsyncClient,
        publications: Sequence[Publication],
        *,
        padding: str = "",
        gives_up: float = GIVES_UP,
    ) -> None:
        """A repetition has the same ids. What was neither acknowledged nor refused may have been written or not."""
        body = [self._event(publication, padding) for publication in publications]
        for publication in publications:
            self.sent_at[publication.key] = time.monotonic()
        while True:
            began = time.monotonic()
            try:
                response = await client.post("/v1/events", json=body, headers=self._headers)
            except httpx.HTTPError as error:
                self.statuses[type(error).__name__] += 1
            else:
                self.statuses[response.status_code] += 1
                if response.status_code not in LATER:
                    outcome = ACKED if response.status_code == 202 else FAILED
                    for publication in publications:
                        publication.outcome = outcome
                    return
            finally:
                self.slowest = max(self.slowest, time.monotonic() - began)
            if self._draw.random() < gives_up:
                return
            await asyncio.sleep(self._draw.uniform(0.05, 0.4))


def wrong_answers(reporters: Sequence[Reporter]) -> dict[int | str, int]:
    """Answers that a reporter should never get: anything but 202, 429, 503 and a broken connection."""
    found: Counter[int | str] = Counter()
    for reporter in reporters:
        found += reporter.statuses
    return {status: times for status, times in found.items() if isinstance(status, int) and status not in (202, *LATER)}
