"""Probing a camera: what it says of itself, part by part, and which of its streams could be a source.

A stream's address is never told: it goes to the administrator as a sealed proposal, which only this camera's record
takes, within an hour.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.actor import Actor
from app.audit import entries
from app.database import Database
from app.errors import CameraOffline, Malformed, Refusal
from app.keys import Keys
from app.registry import controls, sources
from app.registry.addresses import Networks, Source, safe_source
from app.streams.onvif.device import Device, Preset, Profile

log = logging.getLogger("gwanje.onvif")

SEAL = "source-proposal"
PROPOSAL_SECONDS = 3600
MOST_SECONDS = 25.0  # of a whole probe
_MOST_STREAMS = 4  # whose addresses are asked for
_Part = TypeVar("_Part")


@dataclass(slots=True)
class Found:
    """What a camera said of itself; `problems` says which parts could not be learnt, and why."""

    information: dict[str, str] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    proposals: dict[str, str] = field(default_factory=dict)  # sealed streams, by profile
    snapshots: list[str] = field(default_factory=list)  # profiles that have one
    presets: list[Preset] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def shape(self) -> dict[str, Any]:
        """As it is told: no address in it."""
        profiles = [
            {
                **asdict(one), "proposal": self.proposals.get(one.token), "snapshot": one.token in self.snapshots,
            }
            for one in self.profiles
        ]  # fmt: skip
        presets = [{"token": one.token, "name": one.name} for one in self.presets]
        return {
            "information": self.information, "services": self.services, "profiles": profiles, "presets": presets,
            "problems": self.problems,
        }  # fmt: skip


async def probe(database: Database, keys: Keys, camera_id: UUID, allowed: Networks, ca_file: Path | None) -> Found:
    """Ask a camera everything; one bad answer spoils no other. Raises UnsafeSource, CameraOffline if none comes."""
    control = await controls.of(database, keys, camera_id)
    device = await Device.open(safe_source(control.address, allowed), allowed, ca_file)
    found = Found()
    try:
        async with asyncio.timeout(MOST_SECONDS):
            await _ask_all(device, found, keys, camera_id)
    except TimeoutError:
        found.problems["probe"] = f"the camera took more than {MOST_SECONDS:g} s; the rest was not asked"
    if control.changed_at is not None and found.profiles:
        head = next((one.token for one in found.profiles if one.turns), found.profiles[0].token)
        await controls.learnt(database, camera_id, device.services, head, control.changed_at)
    return found


async def _ask_all(device: Device, found: Found, keys: Keys, camera_id: UUID) -> None:
    async def part(name: str, asked: Awaitable[_Part]) -> _Part | None:
        try:
            return await asked
        except Refusal as refusal:
            found.problems[name] = refusal.detail
        except Exception as error:  # noqa: BLE001 - whatever a camera makes of an answer, the other parts count
            log.warning("a camera's answer to %s could not be read: %s", name, type(error).__name__)
            found.problems[name] = "the camera cannot be understood"
        return None

    await part("services", device.begin())
    found.information = await part("information", device.information()) or {}
    if len(found.problems) == 2:  # noqa: PLR2004 - neither was answered: nobody is there
        raise CameraOffline(found.problems["information"])
    found.services = sorted(device.services)
    found.profiles = await part("profiles", device.profiles()) or []
    for profile in found.profiles[:_MOST_STREAMS]:
        stream = await part(f"stream {profile.token}", device.stream_address(profile.token))
        if stream is not None:
            found.proposals[profile.token] = _seal(keys, camera_id, stream)
        if await part(f"snapshot {profile.token}", device.snapshot_address(profile.token)) is not None:
            found.snapshots.append(profile.token)
    head = next((one.token for one in found.profiles if one.turns), None)
    if head is not None:
        found.presets = await part("presets", device.presets(head)) or []


def _seal(keys: Keys, camera_id: UUID, stream: Source) -> str:
    scheme, _, rest = stream.url.partition("://")
    who = f"{quote(stream.user, safe='')}:{quote(stream.password, safe='')}@" if stream.user else ""
    content = orjson.dumps([clock.now().timestamp() + PROPOSAL_SECONDS, f"{scheme}://{who}{rest}"])
    return base64.urlsafe_b64encode(keys.seal(SEAL, content, str(camera_id).encode())).decode()


async def accept(
    session: AsyncSession, actor: Actor, keys: Keys, camera_id: UUID, proposal: str, allowed: Networks, *, profile: str
) -> None:
    """Make a proposed stream the camera's source. Raises Malformed, and what `sources.put` raises."""
    try:
        sealed = base64.urlsafe_b64decode(proposal)
        until, address = orjson.loads(keys.unseal(SEAL, sealed, str(camera_id).encode()))
    except (binascii.Error, ValueError):
        until, address = 0.0, ""
    if until < clock.now().timestamp():
        raise Malformed("proposal is one that a probe of this camera gave within the hour", field="proposal")
    await sources.put(session, actor, keys, camera_id, address, allowed, profile=profile)


async def note(session: AsyncSession, actor: Actor, camera_id: UUID, found: Found) -> None:
    """The entry of a probe: who asked which camera, and how much was learnt."""
    owner = await controls.administered(session, actor, camera_id)
    await entries.append(
        session,
        entries.entry(
            actor, "camera.probed", camera_id=camera_id, owner_agency_id=owner, profiles=len(found.profiles),
            presets=len(found.presets), problems=sorted(found.problems),
        ),
    )  # fmt: skip
