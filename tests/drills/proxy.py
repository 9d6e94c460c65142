"""A TCP proxy that fails as networks do: it holds everything back both ways, or cuts a connection at any byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Forwards connections. While `frozen`, nothing passes and nothing is closed, as behind a broken link.

    `limit` gives, for each new connection, the number of bytes towards the client after which it is cut (None: never).
    """

    def __init__(self, reach: Callable[[], Awaitable[Connection]]) -> None:
        self._reach = reach
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.limit: Callable[[], int | None] = lambda: None
        self.accepted = self.cut = 0
        self.port = 0

    def freeze(self) -> None:
        self._passing.clear()

    def thaw(self) -> None:
        self._passing.set()

    def cut_all(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self._writers.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            await self._passing.wait()
            there, beyond = await self._reach()
            self._writers.add(beyond)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, beyond, None))
                both.create_task(self._pump(there, writer, self.limit()))
        except* (OSError, _Over, asyncio.CancelledError):  # a task of the server's: its cancelling is nobody's news
            pass
        finally:
            for one in (writer, beyond):
                if one is not None:
                    one.transport.abort()
                    self._writers.discard(one)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        while data := await reader.read(1 << 16):
            await self._passing.wait()
            if limit is not None:
                data, limit = data[:limit], limit - len(data)
            writer.write(data)
            if limit is not None and limit <= 0:
                await _written(writer)
                self.cut += 1
                raise _Over
            await writer.drain()
        await self._passing.wait()
        await _written(writer)
        raise _Over

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _written(writer: asyncio.StreamWriter) -> None:
    """The kernel has taken everything, or nobody takes it any more."""
    while writer.transport.get_write_buffer_size() and not writer.transport.is_closing():  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)


class _Over(Exception):  # noqa: N818 - how one way of a connection ends both
    """One side has closed, or the connection is cut here."""


@asynccontextmanager
async def proxy(reach: Callable[[], Awaitable[Connection]]) -> AsyncIterator[Proxy]:
    """A proxy on a port of its own, in front of whatever `reach` connects to."""
    made = Proxy(reach)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0, backlog=1024)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.stop()


def to_port(port: int) -> Callable[[], Awaitable[Connection]]:
    return lambda: asyncio.open_connection("127.0.0.1", port)


def to_socket(path: str) -> Callable[[], Awaitable[Connection]]:
    return lambda: asyncio.open_unix_connection(path)
