"""Small synthetic files in the shapes, and with the dirt, of the files that cities publish. Every name is invented."""

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from app.registry.imports import Finding, SiteRow, Summary, open_table, read_sites

STANDARD_18 = (
    "개방자치단체코드",
    "관리번호",
    "관리기관명",
    "소재지도로명주소",
    "소재지지번주소",
    "설치목적구분",
    "카메라대수",
    "카메라화소수",
    "촬영방면정보",
    "보관일수",
    "설치연월",
    "관리기관전화번호",
    "WGS84위도",
    "WGS84경도",
    "데이터기준일자",
    "데이터갱신구분",
    "데이터갱신시점",
    "최종수정시점",
)
STANDARD_16 = tuple(column for column in STANDARD_18 if column not in ("데이터갱신구분", "데이터갱신시점"))
STANDARD_14 = ("번호", *STANDARD_18[2:15])
STANDARD_15 = (*STANDARD_14[1:], "제공기관코드", "제공기관명")
STANDARD_13 = tuple(
    {"설치연월": "설치년월", "WGS84위도": "위도", "WGS84경도": "경도"}.get(column, column)
    for column in STANDARD_18[2:15]
)
SEOUL = ("자치구", "안심 주소", "CCTV 용도", "위도", "경도", "CCTV 수량", "수정 일시")

GOOD = {
    "개방자치단체코드": "3999000",
    "관리번호": "202439990000800001",
    "관리기관명": "한빛광역시 새솔구청",
    "소재지도로명주소": "한빛광역시 새솔구 푸른들로 12",
    "소재지지번주소": "한빛광역시 새솔구 새솔동 34-5",
    "설치목적구분": "생활방범",
    "카메라대수": "3",
    "카메라화소수": "200",
    "촬영방면정보": "360도 전방면",
    "보관일수": "30",
    "설치연월": "2018-09",
    "관리기관전화번호": "02-000-0000",
    "WGS84위도": "37.51297312",
    "WGS84경도": "127.02790456",
    "데이터기준일자": "2024-05-20",
    "데이터갱신구분": "I",
    "데이터갱신시점": "2024-05-24 22:28:20",
    "최종수정시점": "2024-05-23 08:28:42",
    "번호": "1",
    "제공기관코드": "3999000",
    "제공기관명": "한빛광역시 새솔구",
    "자치구": "새솔구",
    "안심 주소": "새솔동 34-5(고정3)",
    "CCTV 용도": "방범",
    "CCTV 수량": "2",
    "수정 일시": "2022-04-28",
}
GOOD |= {"설치년월": GOOD["설치연월"], "위도": GOOD["WGS84위도"], "경도": GOOD["WGS84경도"]}


def line(columns: Sequence[str] = STANDARD_18, **changed: Any) -> list[Any]:
    """A good row of this layout, with some cells changed."""
    assert set(changed) <= set(columns)
    return [changed.get(column, GOOD[column]) for column in columns]


def lines(count: int, columns: Sequence[str] = STANDARD_18) -> list[list[Any]]:
    """Good rows that differ in their key and place."""
    rows = []
    for index in range(count):
        changed = {
            "관리번호": f"2024399900008{index:05}",
            "소재지도로명주소": f"한빛광역시 새솔구 푸른들로 {index}",
            "안심 주소": f"새솔동 {index}(고정1)",
        }
        for column in ("WGS84위도", "위도"):
            changed[column] = f"37.5{index:04}9"
        rows.append(line(columns, **{name: value for name, value in changed.items() if name in columns}))
    return rows


def csv_text(rows: Iterable[Sequence[Any]], columns: Sequence[str] | None = STANDARD_18, **dialect: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, **{"lineterminator": "\r\n", **dialect})
    if columns is not None:
        writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def read(
    content: bytes | str, folder: Path, name: str = "cameras.csv", **options: Any
) -> tuple[list[SiteRow | None], Summary]:
    """The sites of a file with this content, and the summary with every finding among its examples."""
    sites, findings, summary = everything(content, folder, name, **options)
    summary.examples = {}
    for finding in findings:
        summary.examples.setdefault((finding.code, finding.field), []).append(finding)
    return sites, summary


def everything(
    content: bytes | str,
    folder: Path,
    name: str = "cameras.csv",
    mapping: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[list[SiteRow | None], list[Finding], Summary]:
    table = open_table(stored(content, folder, name), mapping=mapping)
    summary = Summary()
    sites: list[SiteRow | None] = []
    findings: list[Finding] = []
    for site, found in read_sites(table, summary=summary, **options):
        sites.append(site)
        findings += found
    return sites, findings, summary


def stored(content: bytes | str, folder: Path, name: str = "cameras.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def xlsx(
    rows: Sequence[Sequence[Any]], *, dimension: str = "A1", shared: bool = True, first_row: int = 1, raw_rows: str = ""
) -> bytes:
    """A workbook of one sheet, the least that a reader takes; `dimension` is as wrong as in portals' files."""
    strings: dict[str, int] = {}
    body = []
    for at, row in enumerate(rows, first_row):
        cells = "".join(
            _cell(f"{_letters(index)}{at}", value, strings if shared else None) for index, value in enumerate(row)
        )
        body.append(f'<row r="{at}">{cells}</row>')
    sheet = f'<worksheet xmlns="{_SHEET}"><dimension ref="{dimension}"/><sheetData>{"".join(body)}{raw_rows}</sheetData></worksheet>'
    items = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": _relations({"rId1": ("officeDocument", "xl/workbook.xml")}),
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_RELATIONS}"><sheets>'
        '<sheet name="자료" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relations(
            {
                "rId1": ("worksheet", "worksheets/sheet1.xml"),
                "rId2": ("sharedStrings", "sharedStrings.xml"),
                "rId3": ("styles", "styles.xml"),
            }
        ),
        "xl/styles.xml": f'<styleSheet xmlns="{_SHEET}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET}">{items}</sst>',
        "xl/worksheets/sheet1.xml": sheet,
    }
    return zipped(parts)


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def _relations(targets: Mapping[str, tuple[str, str]]) -> str:
    items = "".join(
        f'<Relationship Id="{name}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'
        for name, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}">{items}</Relationships>'


def _cell(reference: str, value: Any, strings: dict[str, int] | None) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, date):
        return f'<c r="{reference}" s="1"><v>{(value - date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{reference}"><v>{value!r}</v></c>'
    if strings is None:
        return f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{reference}" t="s"><v>{strings.setdefault(value, len(strings))}</v></c>'


def _letters(index: int) -> str:
    return chr(65 + index) if index < 26 else _letters(index // 26 - 1) + chr(65 + index % 26)
