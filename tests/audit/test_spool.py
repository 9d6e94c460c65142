"""The local spool: what is on the disk is what was written, or it is refused."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.audit import spool
from app.audit.spool import Record, Spool, Tampered
from app.errors import AuditUnavailable
from app.keys import Keys

MOST = 1 << 20
KEYS = Keys(b"k" * 32)


def kept(folder: Path, *, hours: float = 1, most_bytes: int = MOST) -> Spool:
    return Spool(folder / "spool", KEYS, "tests/1", hours=hours, most_bytes=most_bytes)


async def written(folder: Path, count: int = 5) -> Path:
    """A sealed file of so many records."""
    made = kept(folder)
    for number in range(count):
        await made.write([Record("view.closed", {"number": number})])
    await made.seal()
    (path,) = spool.left(made.folder)
    return path


async def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = kept(tmp_path)
    records = [Record("view.closed", {"number": number, "cause": "이유\n\t"}) for number in range(3)]
    await made.write(records[:2])
    await made.write(records[2:])
    (path,) = spool.left(made.folder)
    with spool.taken(path) as is_ours:
        assert not is_ours, "it is still being written"
    assert (path.stat().st_mode & 0o777, made.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (made.records, made.since is not None) == (3, True)
    await made.seal()
    assert (made.records, made.since) == (0, None)
    with spool.taken(path) as is_ours, spool.taken(path) as is_anothers:
        assert (is_ours, is_anothers) == (True, False)
    found = spool.read(path, KEYS, MOST)
    assert found.records == records
    assert (found.node, found.torn) == ("tests/1", False)


@pytest.mark.parametrize("most", [1 << 12, 1 << 14])
async def test_a_line_that_a_crash_left_half_is_passed_over(tmp_path: Path, most: int) -> None:
    path = await written(tmp_path)
    whole = path.read_bytes()
    ends = [at + 1 for at, letter in enumerate(whole) if letter == ord("\n")]
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        found = spool.read(path, KEYS, most)
        complete = sum(end <= size for end in ends)
        assert len(found.records) == max(0, complete - 1)
        assert found.torn == (size == 0 or size not in ends) or size == 0


def flip(at: int) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        line = bytearray(lines[2])
        line[at] ^= 1
        return [*lines[:2], bytes(line), *lines[3:]]

    return change


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        lambda lines: [*lines[:3], lines[2], *lines[3:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [*lines, b"{}\t" + lines[1].partition(b"\t")[2]],
        lambda lines: [*lines, b"nonsense"],
        lambda lines: [*lines[:2], lines[2].partition(b"\t")[0], *lines[3:]],
        flip(5), flip(40), flip(-3),
    ],
    ids=[
        "gone", "exchanged", "twice", "headless", "first gone", "foreign", "nonsense", "unsigned", "flipped 5",
        "flipped 40", "flipped signature",
    ],
)  # fmt: skip
async def test_a_spool_that_was_changed_is_refused(
    tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = await written(tmp_path)
    path.write_bytes(b"".join(line + b"\n" for line in tamper(path.read_bytes().split(b"\n")[:-1])))
    with pytest.raises(Tampered):
        spool.read(path, KEYS, MOST)


async def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = await written(tmp_path, 2)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for at in range(0, last, 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(Tampered):
            spool.read(path, KEYS, MOST)


async def test_another_deployments_spool_and_one_that_is_too_large_are_refused(tmp_path: Path) -> None:
    path = await written(tmp_path)
    with pytest.raises(Tampered):
        spool.read(path, Keys(b"x" * 32), MOST)
    path.write_bytes(path.read_bytes() + b"x" * spool.MOST_LINE)
    with pytest.raises(Tampered, match="larger"):
        spool.read(path, KEYS, 1000)


async def test_the_room_is_bounded_and_a_quarter_of_it_is_for_ends(tmp_path: Path) -> None:
    made = kept(tmp_path, most_bytes=40_000)
    with pytest.raises(AuditUnavailable):
        for _ in range(1000):
            await made.write([Record("view.opened", {"x": "y" * 500})])
    before = made.records
    assert before > 20
    with pytest.raises(AuditUnavailable):
        for _ in range(1000):
            await made.write([Record("view.closed", {"x": "y" * 500})], is_end=True)
    assert made.records > before + 5
    await made.seal()
    (path,) = spool.left(made.folder)
    assert path.stat().st_size <= 40_000
    assert len(spool.read(path, KEYS, 40_000).records) > before


async def test_after_its_hours_only_ends_are_spooled(tmp_path: Path) -> None:
    made = kept(tmp_path, hours=0.0)
    await made.write([Record("view.closed", {})], is_end=True)
    with pytest.raises(AuditUnavailable):
        await made.write([Record("view.opened", {})])
    await made.write([Record("view.closed", {})], is_end=True)
    assert made.records == 2
    await made.seal()


async def test_a_record_counts_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept(tmp_path)
    await made.write([Record("view.closed", {"number": 0})])

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(AuditUnavailable):
            await made.write([Record("view.closed", {"number": 1})])
    await made.write([Record("view.closed", {"number": 2})])
    await made.seal()
    first, second = [spool.read(path, KEYS, MOST) for path in spool.left(made.folder)]
    assert [record.said["number"] for record in first.records][:1] == [0]
    assert [record.said["number"] for record in second.records] == [2]


async def test_many_at_once_stand_in_one_chain(tmp_path: Path) -> None:
    made = kept(tmp_path)
    await asyncio.gather(*(made.write([Record("view.closed", {"number": number})]) for number in range(60)))
    await made.seal()
    (path,) = spool.left(made.folder)
    assert sorted(record.said["number"] for record in spool.read(path, KEYS, MOST).records) == list(range(60))
