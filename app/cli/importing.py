"""A city's files are brought in."""

import json
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from app.cli.running import out, run
from app.database import Database
from app.errors import UnusableFile
from app.registry import areas, legal_dong
from app.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="Bring in a city's files / 자료 가져오기")
Owner = Annotated[str, typer.Option("--agency", help="whose all rows are; else by code or name")]
Within = Annotated[str, typer.Option("--within", help="the agency below which institutions are looked for")]
Create = Annotated[bool, typer.Option("--create-agencies", help="make institutions that are not known")]
Preview = Annotated[bool, typer.Option("--preview", help="read, compare and report, change nothing")]
Mapping = Annotated[list[str] | None, typer.Option("--map", help="FIELD=COLUMN, such as 위도=#12 or 위도=lat")]
Vanished = Annotated[bool, typer.Option("--retire-vanished", help="retire what the file does not name any more")]


@commands.command("areas")
def import_areas(
    file: Path, kind: Annotated[str, typer.Option(help="sigungu, neighbourhood, park, …; guessed from the codes")] = ""
) -> None:
    """Take in areas: shapes from GeoJSON, or the legal-dong code file (법정동코드); cameras are assigned anew."""
    codes = legal_dong.read(file) if legal_dong.looks_like_it(file) else None
    document = None if codes else _geojson(file)

    async def work(base: Database, _: Settings) -> None:
        async with base.begin() as session:
            if codes is not None:
                made, changed = await legal_dong.load(session, None, codes)
                findings, said = codes.findings, f"{made} areas new, {changed} changed / 신규 {made}, 변경 {changed}"
            else:
                loaded = await areas.load_geojson(session, None, document, kind=kind)
                findings, said = loaded.findings, f"{len(loaded.ids)} areas / 구역 {len(loaded.ids)}개"
            moved = await areas.assign(session) + await areas.assign(session, "assets")
        for finding in findings[:20]:
            out.print(f"  [yellow]{finding}[/]")
        out.print(f"{said}; {moved} cameras and assets assigned / 배정 {moved}")

    run(work)


def _geojson(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise UnusableFile(
            f"{file.name} is no JSON; expected GeoJSON (a FeatureCollection) or the legal-dong code file"
        ) from None


@commands.command("file")
def import_file(
    file: Path,
    kind: Annotated[str, typer.Option(help="cameras, bells, streetlights, security_lights; found out if left")] = "",
    owner: Owner = "", within: Within = "", create: Create = False, preview: Preview = False,
    mapping: Mapping = None, retire_vanished: Vanished = False,
) -> None:  # fmt: skip
    """Take in a file as cities have them: CSV (CP949, UTF-8) or xlsx, in any of the known layouts, of any kind."""
    from app.cli import import_file as door

    run(
        lambda base, _: door.take_in(
            base, out, file, kind=kind, owner=owner, within=within, create=create, preview=preview,
            mapping=mapping or [], retire_vanished=retire_vanished,
        )
    )  # fmt: skip


@commands.command("cameras")
def import_cameras(
    file: Path, owner: Owner = "", within: Within = "", create: Create = False, preview: Preview = False,
    mapping: Mapping = None, retire_vanished: Vanished = False,
) -> None:  # fmt: skip
    """Take in a file that must be one of cameras."""
    import_file(file, "cameras", owner, within, create, preview, mapping, retire_vanished)


@commands.command("undo")
def undo_import(import_id: UUID) -> None:
    """Take an import back, whole, unless something depends on it by now."""
    from app.cli import import_file as door

    run(lambda base, _: door.take_back(base, out, import_id))
