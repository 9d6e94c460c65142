"""Loading the city into an empty database, in one transaction: by the domain's functions, bulk where there is much."""

import asyncio
import random
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import orjson
from shapely.geometry import mapping
from sqlalchemy import Text, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access import agreements, passwords, people
from app.access.agreements import Terms
from app.audit import entries
from app.database import Database
from app.demo.city import records
from app.demo.city.records import Demo, Rig
from app.demo.city.shape import City, Stream
from app.demo.city.streets import METRO, distance
from app.errors import Conflict, UnsafeSource
from app.ids import new_id
from app.keys import Keys
from app.models import Agency, Appointment, Asset, CameraPosition, Site, StreamSource, Unit
from app.models.base import Table
from app.registry import agencies, areas, sources
from app.registry.addresses import camera_networks, safe_source
from app.registry.areas import Locator
from app.registry.codes import INSTALLATION_PURPOSES
from app.settings import Settings

Progress = Callable[[str, float], None]
"""Hears what is being done, in Korean and English, and how much of all is done (0…1)."""

LOGIN: Final = "viewer"
_PORTS: Final = range(20_000, 32_700)  # below the ports that systems give to outgoing connections
_LEGAL_GROUNDS: Final = {
    "crime_prevention": "KR-PIPA-25-1-2", "child_safety": "KR-PIPA-25-1-2", "multi": "KR-PIPA-25-1-2",
    "vehicle_crime": "KR-PIPA-25-1-2", "facility": "KR-PIPA-25-1-3", "illegal_dumping": "KR-PIPA-25-1-2",
    "disaster": "KR-PIPA-25-1-3", "traffic_enforcement": "KR-PIPA-25-1-4", "traffic_information": "KR-PIPA-25-1-5",
}  # fmt: skip


async def is_empty(database: Database) -> bool:
    """Whether the database holds no agency, and so no city."""
    async with database.begin() as session:
        return await _is_empty(session)


async def _is_empty(session: AsyncSession) -> bool:
    return await session.scalar(select(Agency.id).limit(1)) is None


async def load(
    database: Database, keys: Keys, settings: Settings, city: City, *, progress: Progress = lambda *_: None
) -> Demo:
    """Load the city, with fresh random passwords, and write demo.json and demo-cameras.json below the home.

    All or nothing: the files are on disk before the transaction commits, so no city is left that nobody can enter.
    `settings.allow_camera_networks` must admit 127.0.0.1. Raises Conflict if the database holds an agency.
    """
    progress("암호 준비 / passwords", 0.0)
    words = {account.kind: secrets.token_urlsafe(12) for account in city.accounts}
    hashes = dict(zip(words, await asyncio.gather(*map(passwords.hashed, words.values())), strict=True))
    rig = new_rig(city.streams)
    settings.home.mkdir(parents=True, exist_ok=True)
    async with database.begin() as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(hashtext('gwanje.demo'))"))
        if not await _is_empty(session):
            raise Conflict("the database holds agencies already; a demo city goes into an empty one only")
        progress("기관 / agencies", 0.1)
        agency_ids = await _agencies(session, city)
        progress("구역 / areas", 0.25)
        await _areas(session, city)
        locator = await areas.locator(session)
        progress("카메라 / cameras", 0.4)
        await _cameras(session, city, agency_ids, locator)
        progress("영상원 / streams", 0.75)
        await _sources(session, keys, settings, city, rig)
        progress("비상벨과 출동대 / bells and units", 0.8)
        await _assets(session, city, agency_ids, locator)
        await _units(session, city, agency_ids)
        progress("협약과 사용자 / agreements and users", 0.9)
        await _agreements(session, city, agency_ids)
        await _accounts(session, city, agency_ids, hashes)
        await entries.append(
            session,
            entries.entry(
                None, "city.loaded", sites=len(city.sites), cameras=sum(len(site.cameras) for site in city.sites),
                bells=len(city.bells),
            ),
        )  # fmt: skip
        demo = _demo(settings, city, words)
        records.write_rig(settings.home, rig)
        demo.write(settings.home)
    progress("준비되었습니다 / loaded", 1.0)
    return demo


def new_rig(streams: Sequence[Stream]) -> Rig:
    """The simulated cameras on a free port, with fresh passwords for those that demand one."""
    return Rig(
        _free_port(),
        [
            {
                "path": stream.path,
                "name": stream.caption,
                "login": LOGIN if stream.locked else "",
                "password": secrets.token_urlsafe(12) if stream.locked else "",
                "audio": stream.audible,
                "offline": stream.offline,
            }
            for stream in streams
        ],
    )


def _free_port() -> int:
    for port in random.SystemRandom().sample(_PORTS, 50):
        try:
            safe_source(f"rtsp://camera.example:{port}/", ())  # some ports are no camera's
            with socket.create_server(("127.0.0.1", port)):
                return port
        except (OSError, UnsafeSource):
            continue
    raise OSError("no free TCP port for the simulated cameras / 모의 카메라가 쓸 포트가 없습니다")


async def _agencies(session: AsyncSession, city: City) -> dict[str, UUID]:
    """The ids of all institutions by their keys."""
    found: dict[str, UUID] = {}
    for each in city.institutions:
        found[each.key] = await agencies.add(
            session, None, name=each.name, name_en=each.name_en, kind=each.kind,
            parent_id=found[each.parent] if each.parent else None, authority_code=each.authority_code,
        )  # fmt: skip
    return found


async def _areas(session: AsyncSession, city: City) -> None:
    districts = city.municipalities
    neighbourhoods = [part for district in districts for part in district.neighbourhoods]
    for kind, items in (("sido", [city]), ("sigungu", districts), ("neighbourhood", neighbourhoods)):
        features = [
            {
                "type": "Feature",
                "properties": {"code": item.code, "name": item.name, "name_en": item.name_en},
                "geometry": mapping(item.boundary),
            }
            for item in items
        ]
        document = {"type": "FeatureCollection", "features": features}
        await areas.load_geojson(session, None, document, kind=kind)


async def _insert(session: AsyncSession, table: type[Table], rows: list[dict[str, Any]]) -> None:
    """All rows in one statement, as JSON.

    It is faster than one statement a row, which asyncpg pipelines; and asyncpg waits for ever when such a pipeline is
    cancelled in the middle (the server then reads, and hears no cancellation).
    """
    name, columns = table.__tablename__, ", ".join(rows[0])
    whole = f"json_populate_recordset(null::{name}, CAST(:rows AS json))"
    query = f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {whole}"  # noqa: S608 - names of our own tables
    document = orjson.dumps(rows, default=_as_text).decode()
    await session.execute(text(query).bindparams(bindparam("rows", document, Text())))


def _as_text(value: object) -> str:
    """What JSON has no word for, as PostgreSQL reads it: bytes, and asyncpg's own kind of UUID."""
    return "\\x" + value.hex() if isinstance(value, bytes) else str(value)


async def _cameras(session: AsyncSession, city: City, agency_ids: dict[str, UUID], locator: Locator) -> None:
    streaming = {stream.camera_id for stream in city.streams}
    where = locator.locate(
        [site.cameras[0].longitude for site in city.sites], [site.cameras[0].latitude for site in city.sites]
    )
    institutions = {each.key: each for each in city.institutions}
    sites, positions = [], []
    for site, area_ids in zip(city.sites, where, strict=True):
        owner = agency_ids[site.owner]
        center = agency_ids[f"center-{site.owner}"]
        sites.append(
            {
                "id": site.id,
                "owner_agency_id": owner,
                "external_key": f"{institutions[site.owner].authority_code}:{site.management_number}",
                "name": site.address,
                "road_address": site.address,
                "manager_name": institutions[site.owner].name,
                "purpose_label": "+".join(INSTALLATION_PURPOSES[code] for code in site.purposes),
                "data_date": date(2026, 1, 1),
            }
        )
        positions += [
            {
                "id": camera.id,
                "site_id": site.id,
                "ordinal": camera.ordinal,
                "name": camera.name,
                "owner_agency_id": owner,
                "controller_agency_id": owner,
                "manager_agency_id": owner,
                "monitoring_agency_id": center,
                "latitude": camera.latitude,
                "longitude": camera.longitude,
                "area_ids": area_ids,
                "status": camera.status,
                "installation_purposes": list(site.purposes),
                "legal_ground": _LEGAL_GROUNDS.get(site.purposes[0], "KR-PIPA-25-1-1"),
                "retention_days": 30,
                "pixels_10k": camera.pixels_10k,
                "azimuth_degrees": camera.azimuth_degrees,
                "ptz": camera.ptz,
                "installed_on": camera.installed_on,
                "has_stream": camera.id in streaming,
            }
            for camera in site.cameras
        ]
    await _insert(session, Site, sites)
    await _insert(session, CameraPosition, positions)


async def _sources(session: AsyncSession, keys: Keys, settings: Settings, city: City, rig: Rig) -> None:
    allowed = camera_networks(settings)
    rows = []
    for stream, camera in zip(city.streams, rig.cameras, strict=True):
        address = rig.url(camera)
        safe_source(address, allowed)
        rows.append(
            {
                "id": new_id(),
                "position_id": stream.camera_id,
                "mode": "live",
                "profile": "main",
                "address_sealed": sources.seal(keys, stream.camera_id, "live", "main", address),
                "key_id": keys.key_id,
                "codec": "h264",
                "width": 640,
                "height": 360,
            }
        )
    await _insert(session, StreamSource, rows)


async def _assets(session: AsyncSession, city: City, agency_ids: dict[str, UUID], locator: Locator) -> None:
    assets = [*city.poles, *city.bells]  # a bell refers to its pole
    authority = {each.key: each.authority_code for each in city.institutions}
    where = locator.locate([asset.longitude for asset in assets], [asset.latitude for asset in assets])
    rows = [
        {
            "id": asset.id,
            "kind": asset.kind,
            "owner_agency_id": agency_ids[asset.owner],
            "site_id": asset.site_id,
            "parent_id": asset.pole_id,
            "external_key": f"{authority[asset.owner]}:{asset.management_number}",
            "name": asset.name,
            "address": asset.address,
            "latitude": asset.latitude,
            "longitude": asset.longitude,
            "area_ids": area_ids,
            "camera_ids": list(asset.camera_ids),
            "camera_link": "declared" if asset.camera_ids else "",
        }
        for asset, area_ids in zip(assets, where, strict=True)
    ]
    await _insert(session, Asset, rows)


async def _units(session: AsyncSession, city: City, agency_ids: dict[str, UUID]) -> None:
    rows = [
        {
            "id": unit.id,
            "agency_id": agency_ids[unit.institution],
            "kind": unit.kind,
            "call_sign": unit.call_sign,
            "crew_size": unit.crew_size,
            "latitude": unit.place[0],
            "longitude": unit.place[1],
            "seen_at": clock.now(),
        }
        for unit in city.units
    ]
    await _insert(session, Unit, rows)


async def _agreements(session: AsyncSession, city: City, agency_ids: dict[str, UUID]) -> None:
    for share in city.shares:
        terms = Terms(
            grantee_agency_id=agency_ids[share.grantee], title=share.title, verbs=share.verbs,
            use_purposes=share.use_purposes, bases=share.bases, condition=share.condition,
            document_number=share.document_number,
        )  # fmt: skip
        await agreements.make(session, None, agency_ids[share.owner], terms)


async def _accounts(session: AsyncSession, city: City, agency_ids: dict[str, UUID], hashes: dict[str, str]) -> None:
    unit_ids = {unit.call_sign: unit.id for unit in city.units}
    for account in city.accounts:
        user_id = await people.add(
            session, None, login=account.login, name=account.name, secret_hash=hashes[account.kind],
            kind="system" if account.role == "integration" else "person",
        )  # fmt: skip
        appointment_id = await people.appoint(
            session, None, user_id=user_id, agency_id=agency_ids[account.institution], role=account.role,
            rank=account.rank,
        )  # fmt: skip
        if account.unit:
            await session.execute(
                update(Appointment).where(Appointment.id == appointment_id).values(unit_id=unit_ids[account.unit])
            )


def _demo(settings: Settings, city: City, words: dict[str, str]) -> Demo:
    names = {each.key: each.name for each in city.institutions}

    def streaming(owner: str) -> Iterator[str]:
        return (str(stream.camera_id) for stream in city.streams if stream.owner == owner and not stream.offline)

    by_site = {site.id: site for site in city.sites}
    bells = [bell for bell in city.bells if bell.owner == city.demo_district]
    bells.sort(key=lambda bell: distance(by_site[bell.site_id], city.place))
    others = {METRO: METRO, "locate_only": city.locate_only_district, "unshared": city.closed_district}
    elsewhere = {word: list(streaming(owner)) for word, owner in others.items()}
    return Demo(
        base_url=settings.base_url,
        users=[
            {
                "kind": account.kind,
                "name": account.name,
                "agency": names[account.institution],
                "login": account.login,
                "password": words[account.kind],
            }
            for account in city.accounts
        ],
        place={"lat": city.place[0], "lon": city.place[1]},
        bells=[str(bell.id) for bell in bells],
        streaming_cameras=list(streaming(city.demo_district)),
        offline_camera=next(str(stream.camera_id) for stream in city.streams if stream.offline),
        locate_only_camera=elsewhere["locate_only"][0],
        unshared_camera=elsewhere["unshared"][0],
        other_streaming_cameras=elsewhere,
    )
