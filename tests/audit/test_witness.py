"""Witnesses by c2sp.org/tlog-witness: the five ways to say no, and never two histories, whatever happens at once."""

import asyncio
import base64
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.audit import tree, verify, witness
from app.audit.verify import Checkpoint, Key, Wrong
from app.audit.witness_file import WitnessFile
from app.cli.witness import application
from app.errors import Conflict
from app.settings import Settings
from tests.conftest import serving
from tests.processes import alive

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"l" * 32)
MOST = 300


class Told:
    """A log that tells whoever asks what suits it: one of two histories, which part after `same` entries."""

    def __init__(self, name: str = "log.example/audit", same: int = 100) -> None:
        self.key = Key(name, verify.ED25519, PRIVATE.public_key().public_bytes_raw())
        common = [verify.leaf_hash(b"%d" % number) for number in range(same)]
        self.histories = [
            [*common, *(verify.leaf_hash(b"%d of %d" % (number, which)) for number in range(same, MOST))]
            for which in (0, 1)
        ]

    def root(self, size: int, which: int = 0) -> bytes:
        return verify.Tree(size, tree.grow(0, [], self.histories[which][:size])[0]).root()

    def note(self, size: int, which: int = 0, root: bytes | None = None) -> str:
        text = Checkpoint(self.key.name, size, root or self.root(size, which)).text
        signature = base64.b64encode(self.key.id + PRIVATE.sign(text.encode())).decode()
        return f"{text}\n— {self.key.name} {signature}\n"

    def proof(self, old: int, new: int, which: int = 0) -> list[bytes]:
        leaves = self.histories[which]

        def stored(level: int, index: int) -> bytes:
            part = leaves[index << level : (index + 1) << level]
            return verify.Tree(len(part), tree.grow(0, [], part)[0]).root()

        return tree.consistency(old, new, stored)

    def body(self, old: int, new: int, which: int = 0, *, proof: list[bytes] | None = None, note: str = "") -> bytes:
        hashes = self.proof(old, new, which) if proof is None else proof
        lines = "".join(base64.b64encode(one).decode() + "\n" for one in hashes)
        return f"old {old}\n{lines}\n{note or self.note(new, which)}".encode()


Ask = Callable[[bytes], Awaitable[httpx.Response]]


@pytest.fixture(scope="module")
async def service(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service that is the witness of a hundred logs, a fresh one for each test."""
    vkeys = " ".join(Told(f"log{number}.example/audit").key.vkey for number in range(100))
    async with serving(settings.model_copy(update={"witness_logs": vkeys, "node": "witnessing"})) as url:
        async with httpx.AsyncClient(base_url=url, timeout=15) as client:
            yield client


_number = iter(range(100))


@pytest.fixture
def log() -> Told:
    return Told(f"log{next(_number)}.example/audit")


@pytest.fixture(params=["service", "file"])
async def client(
    request: pytest.FixtureRequest, service: httpx.AsyncClient, log: Told, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A witness of either kind that knows the log, below /v1/witness."""
    if request.param == "service":
        yield service
        return
    WitnessFile.make(tmp_path / "witness", "witness.example/one")
    held = WitnessFile(tmp_path / "witness", [log.key])
    transport = httpx.ASGITransport(app=application(held))
    async with httpx.AsyncClient(transport=transport, base_url="http://witness") as made:
        yield made


@pytest.fixture
def ask(client: httpx.AsyncClient) -> Ask:
    path = "/add-checkpoint" if str(client.base_url).startswith("http://witness") else "/v1/witness/add-checkpoint"
    return lambda body: client.post(path, content=body)


def prefix(client: httpx.AsyncClient) -> str:
    return "" if str(client.base_url).startswith("http://witness") else "/v1/witness"


async def test_what_goes_on_is_cosigned_and_shown(client: httpx.AsyncClient, ask: Ask, log: Told) -> None:
    answers = [await ask(log.body(0, 10)), await ask(log.body(10, 10)), await ask(log.body(10, 123))]
    assert [one.status_code for one in answers] == [200, 200, 200]
    name = re.match("— ([^ ]+) ", answers[0].text)
    assert name
    blob = base64.b64decode(answers[2].text.split(" ")[2])
    assert len(blob) == 4 + 8 + 64
    shown = await client.get(f"{prefix(client)}/{sha256(log.key.name.encode()).hexdigest()}/checkpoint")
    assert shown.text == log.note(123) + answers[2].text
    none = await client.get(f"{prefix(client)}/{'0' * 64}/checkpoint")
    assert none.status_code == 404


async def test_a_cosignature_is_believed_by_its_key(tmp_path: Path, log: Told) -> None:
    WitnessFile.make(tmp_path, "witness.example/one")
    held = WitnessFile(tmp_path, [log.key])
    line = held.add_checkpoint(log.body(0, 10)).text
    _, signers = verify.open_checkpoint(log.note(10) + line, log.key, [held.witness.key])
    assert list(signers) == ["witness.example/one"]
    assert all(signers.values()), "with the time"
    assert verify.Key.read(held.witness.key.vkey) == held.witness.key


async def test_the_five_refusals(ask: Ask, log: Told) -> None:
    assert (await ask(log.body(0, 50))).status_code == 200
    stranger = Told("nobody.example/audit")
    forged = log.note(60).replace(
        base64.b64encode(log.root(60)).decode(), base64.b64encode(log.root(60, 1)[::-1]).decode()
    )
    unsigned = log.note(60).replace(f"— {log.key.name} ", "— somebody.example ")
    bad_proof = [sha256(b"x").digest()]
    cases: list[tuple[int, bytes]] = [
        (404, stranger.body(0, 10)),
        (403, log.body(50, 60, note=forged)),
        (403, log.body(50, 60, note=unsigned)),
        (400, b"old 61\n\n" + log.note(60).encode()),
        (400, b"old 050\n\n" + log.note(60).encode()),
        (400, b"old 50\n" + b"AAAA\n\n" + log.note(60).encode()),
        (400, b"old 50\n" + 64 * (base64.b64encode(b"x" * 32) + b"\n") + b"\n" + log.note(60).encode()),
        (400, b"old 50\n" + log.note(60).encode()),
        (400, b""),
        (400, b"\xff"),
        (400, b"old 50\n\n" + log.note(60).encode() + b"x" * (1 << 18)),
        (409, log.body(49, 60)),
        (409, log.body(0, 60)),
        (409, log.body(0, 40)),
        (422, log.body(50, 60, proof=bad_proof)),
        (422, log.body(50, 60, proof=[])),
        (422, log.body(50, 50, proof=bad_proof)),
        (422, log.body(50, 50, note=log.note(50, root=sha256(b"y").digest()))),
    ]
    said = [await ask(body) for _, body in cases]
    assert [one.status_code for one in said] == [status for status, _ in cases]
    for one in said:
        if one.status_code == 409:
            assert (one.headers["content-type"], one.text) == ("text/x.tlog.size", "50\n")
    assert (await ask(log.body(50, 60))).status_code == 200, "none of them changed anything"


async def test_of_nothing_there_is_one_root_and_no_proof(ask: Ask, log: Told) -> None:
    empty = sha256(b"").digest()
    assert (await ask(log.body(0, 0, note=log.note(0, root=sha256(b"x").digest())))).status_code == 422
    assert (await ask(log.body(0, 10, proof=[empty]))).status_code == 422
    assert (await ask(log.body(0, 0, note=log.note(0, root=empty)))).status_code == 200
    assert (await ask(log.body(0, 10))).status_code == 200


async def test_of_two_histories_at_once_one_is_cosigned(ask: Ask, log: Told) -> None:
    assert (await ask(log.body(0, 100))).status_code == 200
    bodies = [log.body(100, 101 + number, number % 2) for number in range(24)]
    said = await asyncio.gather(*(ask(body) for body in bodies))
    assert sorted(one.status_code for one in said) == [200, *[409] * 23]


async def test_what_contradicts_is_kept_as_evidence(tmp_path: Path, log: Told) -> None:
    WitnessFile.make(tmp_path, "witness.example/one")
    held = WitnessFile(tmp_path, [log.key])
    for body in (
        log.body(0, 100),
        log.body(100, 110),
        log.body(100, 110, 1),
        log.body(100, 110, 1),
        log.body(110, 111, 1),
    ):
        held.add_checkpoint(body)
    assert {(size, status) for _, _, size, status, _, _ in held.refusals()} == {(110, 409), (111, 422)}
    note = next(note for _, _, size, _, _, note in held.refusals() if size == 110)
    assert note == log.note(110, 1), "signed by the log itself: whoever sees both knows"


async def test_evidence_of_a_service_is_kept_too(service: httpx.AsyncClient, database: object, log: Told) -> None:
    for body in (log.body(0, 100), log.body(100, 110), log.body(100, 110, 1)):
        await service.post("/v1/witness/add-checkpoint", content=body)
    from app.audit import witnessed

    async with database.begin() as session:  # type: ignore[attr-defined]
        kept = [one for one in await witnessed.refusals(session) if one.origin == log.key.name]
    assert [(one.size, one.status, one.note) for one in kept] == [(110, 409, log.note(110, 1))]


def test_a_witness_that_lost_its_memory_does_not_go_on(tmp_path: Path) -> None:
    WitnessFile.make(tmp_path, "witness.example/one")
    with pytest.raises(Conflict):
        WitnessFile.make(tmp_path, "witness.example/one")
    assert (tmp_path / "witness.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "witness.sqlite").unlink()
    with pytest.raises(Conflict, match="must not go on"):
        WitnessFile(tmp_path)


def test_logs_are_named_by_their_own_keys() -> None:
    log = Told()
    assert witness.read_logs(f" {log.key.vkey}  ") == [log.key]
    with pytest.raises(ValueError, match="kind 1"):
        witness.read_logs(Key("w", verify.COSIGNATURE, log.key.public).vkey)
    with pytest.raises(ValueError, match="vkey"):
        witness.read_logs("log.example")


# A process that is killed


async def started(folder: Path, log: Told) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "witness", "serve", str(folder), "--log", log.key.vkey, "--bind", "127.0.0.1:0",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout
    async for line in process.stdout:
        if found := re.match(rb"serves on (\d+)", line):
            return process, f"http://127.0.0.1:{int(found[1])}/add-checkpoint"
    raise RuntimeError("the witness did not start")


async def hammer(url: str, log: Told, which: int, seen: dict[tuple[int, int], str]) -> None:
    """Show one of the histories, again and again, until nobody answers; what was cosigned is written down."""
    old = 0
    async with httpx.AsyncClient(timeout=60) as client:  # who is killed hangs up; on a busy machine nobody gives up
        while old < MOST:
            new = old + 1
            try:
                said = await client.post(url, content=log.body(old, new, which))
            except httpx.TransportError:
                return
            if said.status_code == 200:
                seen[new, which] = said.text
                old = new
            elif said.status_code == 409:
                old = int(said.text)
            else:
                assert said.status_code == 422
                await asyncio.sleep(0.01)  # the other history has won; go on asking


async def kill_again_and_again(folder: Path, kills: int) -> int:
    """Two histories shown to a witness that is killed: how many checkpoints it cosigned, all of one history."""
    log, seen, dice = Told(same=20), dict[tuple[int, int], str](), random.Random(7)
    key = WitnessFile.make(folder, "witness.example/one").witness.key
    for _ in range(kills):
        process, url = await started(folder, log)
        before = len(seen)
        clients = [asyncio.create_task(hammer(url, log, number % 2, seen)) for number in range(4)]
        try:
            while len(seen) < min(before + dice.randint(1, 8), MOST - 20):  # they know of no bound
                await asyncio.sleep(0.001)
                assert not all(client.done() for client in clients), "nobody asks any more"
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(*clients)  # raises what one of them failed with
        assert not alive(process.pid)
    roots: dict[int, set[bytes]] = {}
    for (size, which), line in seen.items():
        note = log.note(size, which) + line
        assert key.name in verify.open_checkpoint(note, log.key, [key])[1]
        roots.setdefault(size, set()).add(log.root(size, which))
    assert all(len(different) == 1 for different in roots.values()), "two histories of one size"
    parted = {which for size, which in seen if size > 20}
    assert len(parted) <= 1, "of two histories, both were cosigned"
    held = WitnessFile(folder, [log.key])
    assert int(held.add_checkpoint(log.body(0, MOST)).text) >= max(size for size, _ in seen), "what left was remembered"
    return len(seen)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_witness_that_is_killed_cosigns_one_history(tmp_path: Path) -> None:
    assert await kill_again_and_again(tmp_path / "witness", 2) >= 2


@pytest.mark.drill
@pytest.mark.timeout(600)
async def test_a_witness_that_is_killed_fifty_times(tmp_path: Path) -> None:
    assert await kill_again_and_again(tmp_path / "witness", 50) >= 50


def test_the_checker_finds_two_histories() -> None:
    """The positive control: a witness that forgets cosigns both, and they contradict each other."""
    log = Told(same=20)
    who = witness.Witness("forgetful.example", Ed25519PrivateKey.generate())
    given = [witness.receive(log.body(0, 40, which), [log.key]) for which in (0, 1)]
    for one in given:
        witness.check(one, None, None)
        verify.open_checkpoint(one.note + who.cosign(one.text), log.key, [who.key])
    with pytest.raises(Wrong):
        verify.check_consistency(40, 40, [], given[0].checkpoint.root, given[1].checkpoint.root)
