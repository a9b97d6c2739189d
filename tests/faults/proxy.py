"""The network between any two of the bench's programs, as TCP proxies: cut, stalled, delayed at will.

Every link has a source and a target ("sequencer" to "kafka-2") and a state that can change at any moment, also under
open connections. TCP keeps the order within one connection; `delay_s` is drawn anew for each piece of each connection,
so what was sent first over one connection arrives after what was sent later over another: that is the reordering that a
TCP network can do. The loop runs in a thread of its own; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Link", "Network"]

_HOST = "127.0.0.1"
_PIECE = 65_536


@dataclass(eq=False)
class Link:
    """One direction of asking: `source` connects to `target`.

    `cut`: connections are reset and refused. `stalled`: connections stand, and nothing comes through, either way, as
    when a cable is drawn. `delay_s`: every piece waits for so long, drawn between the two.
    """

    source: str
    target: str
    cut: bool = False
    stalled: bool = False
    delay_s: tuple[float, float] | None = None
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def is_whole(self) -> bool:
        """Whether everything comes through at once."""
        return not (self.cut or self.stalled or self.delay_s)


class Network:
    """All links of one bench. `source_of`: for a listener that several share, who has the other end of a connection."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._links: dict[tuple[str, str], Link] = {}
        self._servers: list[asyncio.Server] = []
        self._random = random.Random()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def listen(self, source: str | Callable[[int], str], target: str, port: int, own_port: int = 0) -> int:
        """Listen for `source` in front of `target` at `port`; the port to connect to.

        A `source` that is called is told the port of the connecting end, and says who that is.
        """
        return self.serve(
            lambda reader, writer: self._connect(self.link(_source(source, writer), target), port, reader, writer),
            own_port,
        )

    def serve(self, handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object], own_port: int = 0) -> int:
        """Serve connections with a coroutine on this network's loop; the port."""

        async def start() -> int:
            server = await asyncio.start_server(handle, _HOST, own_port, limit=_PIECE)
            self._servers.append(server)
            return int(server.sockets[0].getsockname()[1])

        return asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)

    def link(self, source: str, target: str) -> Link:
        """The link from `source` to `target`, whole when it was not spoken of before."""
        return self._links.setdefault((source, target), Link(source, target))

    def links(self, chosen: Callable[[Link], bool]) -> list[Link]:
        """All links so far that are chosen."""
        return [link for link in list(self._links.values()) if chosen(link)]

    def cut(self, link: Link) -> None:
        """Reset every connection and refuse new ones."""
        link.cut = True
        self.loop.call_soon_threadsafe(self._abort, link)

    def heal(self, link: Link) -> None:
        """Everything comes through again. What waited in a stalled connection arrives now."""
        link.cut = link.stalled = False
        link.delay_s = None

    def close(self) -> None:
        """End the loop and with it all connections."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        for link in self._links.values():
            self._abort(link)
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    @staticmethod
    def _abort(link: Link) -> None:
        for writer in list(link.connections):
            writer.transport.abort()

    async def _connect(self, link: Link, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if link.cut:
            writer.transport.abort()
            return
        link.connections.add(writer)
        server_writer: asyncio.StreamWriter | None = None
        try:
            await _while_stalled(link)
            server_reader, server_writer = await asyncio.open_connection(_HOST, port, limit=_PIECE)
            link.connections.add(server_writer)
            pumps = [
                asyncio.ensure_future(self._pump(link, reader, server_writer)),
                asyncio.ensure_future(self._pump(link, server_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:  # nobody listens there now
            pass
        finally:
            for each in (writer, server_writer):
                if each is not None:
                    link.connections.discard(each)
                    with contextlib.suppress(OSError):
                        each.close()

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                if link.delay_s is not None:
                    await asyncio.sleep(self._random.uniform(*link.delay_s))
                await _while_stalled(link)
                writer.write(data)
                await writer.drain()


async def _while_stalled(link: Link) -> None:
    while link.stalled:  # noqa: ASYNC110 - the state is set by another thread
        await asyncio.sleep(0.05)


def _source(source: str | Callable[[int], str], writer: asyncio.StreamWriter) -> str:
    return source if isinstance(source, str) else source(int(writer.get_extra_info("peername")[1]))
