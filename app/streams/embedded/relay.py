"""Gives a pull's fragments to the other processes of this machine, over a unix socket.

When the process that pulls dies, the kernel closes its sockets: the readers' pulls end at once, with `gateway_lost`.

On the socket: 22 bytes (kind, size of the body, decode time, duration, key frame or not), then the body.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import cast

from app.streams.embedded.boxes import MAX_BOX_BYTES, Fragment, Init, NotFragmentedMp4, Splitter
from app.streams.embedded.pull import LINGER_SECONDS, Cause, Lost, Pull, PullerGone

_FRAME = Struct(">BIQQ?")
_HELLO, _INIT, _FRAGMENT, _LOST = range(4)
_BACKLOG_BYTES = 32 * 1024 * 1024
_SOCKET_PATH_BYTES = 107  # sun_path, less its final NUL


class Share:
    """Gives a pull's fragments to the other processes of this machine; ends with it."""

    def __init__(self, pull: Pull, run_dir: Path, name: str) -> None:
        self._pull, self._run_dir, self._name = pull, run_dir, name
        self._server: asyncio.Server | None = None
        self._greeted: tuple[asyncio.WriteTransport, ...] = ()
        self._waiting: tuple[asyncio.WriteTransport, ...] = ()
        pull.on_end = self._close

    async def open(self) -> None:
        """Listen, before the camera answers: whoever comes meanwhile waits here."""
        listening = socket.socket(socket.AF_UNIX)
        try:
            (self._run_dir / self._name).unlink(missing_ok=True)  # a dead puller's: it is our turn
            with _socket_path(self._run_dir, self._name) as path:
                listening.bind(path)
            (self._run_dir / self._name).chmod(0o600)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _Reader(self), sock=listening)
        except BaseException:
            listening.close()
            raise

    def _close(self) -> None:
        lost = cast("Lost", self._pull.lost)
        goodbye = _framed(_LOST, json.dumps([lost.cause, lost.detail]).encode())
        for transport in self._greeted + self._waiting:
            transport.write(goodbye)
            transport.close()
        self._greeted = self._waiting = ()
        (self._run_dir / self._name).unlink(missing_ok=True)
        if self._server:
            self._server.close()

    def joined(self, transport: asyncio.WriteTransport) -> None:
        """Another process came. For the pull all of them are one listener."""
        if self._pull.lost:
            transport.abort()
            return
        if not self._greeted + self._waiting:
            self._pull.subscribe(self)
        if self._pull.gop:
            self._greet(transport)
        else:
            self._waiting += (transport,)

    def left(self, transport: asyncio.WriteTransport) -> None:
        self._greeted = tuple(one for one in self._greeted if one is not transport)
        self._waiting = tuple(one for one in self._waiting if one is not transport)
        if not self._greeted + self._waiting:
            self._pull.unsubscribe(self)

    def on_fragment(self, fragment: Fragment) -> None:
        if self._greeted:
            data = _framed(_FRAGMENT, fragment.data, fragment)
            for transport in self._greeted:
                transport.write(data)
                if transport.get_write_buffer_size() > _BACKLOG_BYTES:
                    transport.abort()  # it does not read: it may come again
        if self._waiting and self._pull.gop:
            waiting, self._waiting = self._waiting, ()
            for transport in waiting:
                self._greet(transport)

    def on_lost(self, lost: Lost) -> None:
        """The goodbye is said by `_close`, which also serves those who wait."""

    def _greet(self, transport: asyncio.WriteTransport) -> None:
        pull, init = self._pull, cast("Init", self._pull.init)
        hello = json.dumps([pull.segment, pull.segment_began]).encode()
        transport.write(_framed(_HELLO, hello) + _framed(_INIT, init.data))
        for fragment in pull.gop:
            transport.write(_framed(_FRAGMENT, fragment.data, fragment))
        self._greeted += (transport,)


class _Reader(asyncio.Protocol):
    """One connection of another process; it has nothing to say."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._share.joined(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._share.left(self._transport)


class RelayedPull(Pull, asyncio.Protocol):
    """The same pictures out of another process of this machine. Lost with `gateway_lost` when that process goes."""

    def __init__(self, run_dir: Path, name: str, *, linger_seconds: float = LINGER_SECONDS) -> None:
        super().__init__(linger_seconds=linger_seconds)
        self._run_dir, self._name = run_dir, name
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    async def _begin(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            with _socket_path(self._run_dir, self._name) as path:
                connection.connect(path)
        except OSError as error:
            connection.close()
            raise PullerGone("the process that reads the camera does not answer") from error
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=connection)

    def _release(self) -> None:
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.lost:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _FRAME.size and not self.lost:
            kind, size, decode_time, duration, is_key = _FRAME.unpack_from(buffer)
            end = _FRAME.size + size
            if size > 2 * MAX_BOX_BYTES:
                self._end(Cause.GATEWAY_LOST, "the process that reads the camera cannot be understood")
            if len(buffer) < end:
                return
            body = bytes(buffer[_FRAME.size : end])
            del buffer[:end]
            if kind == _FRAGMENT:
                self._publish(Fragment(body, decode_time, duration, is_key))
            else:
                self._told(kind, body)

    def _told(self, kind: int, body: bytes) -> None:
        if kind == _HELLO:
            self.segment, self.segment_began = json.loads(body)
        elif kind == _INIT:
            with suppress(NotFragmentedMp4, IndexError):
                self.init = cast("Init", Splitter().feed(body)[0])
        else:
            cause, detail = json.loads(body)
            gone = cause == Cause.STOPPED  # the puller's stop is not ours
            self._end(Cause.GATEWAY_LOST if gone else Cause(cause), detail)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._end(Cause.GATEWAY_LOST, "the process that read the camera ended")


def _framed(kind: int, body: bytes, fragment: Fragment | None = None) -> bytes:
    if fragment is None:
        return _FRAME.pack(kind, len(body), 0, 0, False) + body
    return _FRAME.pack(kind, len(body), fragment.decode_time, fragment.duration, fragment.starts_with_key_frame) + body


@contextmanager
def _socket_path(folder: Path, name: str) -> Iterator[str]:
    """A path for bind and connect. One that is too long for the kernel goes through an open folder."""
    path = folder / name
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        yield str(path)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
