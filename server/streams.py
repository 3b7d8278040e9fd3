"""SearchStream: requests are answered as they come, in any order, a bounded number at a time."""

from __future__ import annotations

import asyncio
from time import monotonic

import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined, unused-ignore]

from pageann.errors import Overloaded, ServiceUnavailable
from pageann.server.access_log import Entry
from pageann.server.answering import Answering
from pageann.server.calls import Calls, Context, seconds_left
from pageann.server.keys import Caller
from pageann.server.v1 import pageann_pb2 as pb

__all__ = ["Streams"]

METHOD = "SearchStreamRequest"
"""What one request of a stream is called in metrics and the log; the stream itself is SearchStream."""


class Streams:
    """All open streams: at most ``most``, each with at most ``requests`` unanswered requests.

    Together they have half of the calls at work, so that they do not keep out others; their further
    requests wait in the streams, which are not read on meanwhile.
    """

    def __init__(self, calls: Calls, answering: Answering, most: int, requests: int, at_work: int) -> None:
        self._calls = calls
        self._answering = answering
        self._most = most
        self._requests = requests
        self._turns = asyncio.Semaphore(max(1, at_work // 2))
        self._readers: set[asyncio.Task[None]] = set()
        self._ending = False

    def end(self) -> None:
        """Read no more requests; streams end when those that were read are answered."""
        self._ending = True
        for reader in self._readers:
            reader.cancel()

    async def serve(self, context: Context, caller: Caller, entry: Entry) -> None:
        """The life of one stream."""
        if self._ending:
            raise ServiceUnavailable("the server is going down; try again")
        if len(self._readers) >= self._most:
            raise Overloaded(f"{self._most} streams are open, which is all this server has", 1.0)
        stream = _Stream(self._calls, self._answering, context, caller, entry.request_id, self._turns)
        reader = asyncio.create_task(stream.read_all(self._requests))
        broken = asyncio.create_task(stream.broken.wait())
        self._readers.add(reader)
        try:
            await asyncio.wait([reader, broken], return_when=asyncio.FIRST_COMPLETED)
            await stream.answered()
        finally:
            self._readers.discard(reader)
            reader.cancel()
            broken.cancel()
            stream.drop()
        if stream.is_slow:
            raise Overloaded("answers were not taken in time; read them as they come")
        if self._ending:
            raise ServiceUnavailable("the server is going down; open the stream again")


class _Stream:
    """One stream. A request that fails is answered with its status, and the stream goes on."""

    def __init__(
        self,
        calls: Calls,
        answering: Answering,
        context: Context,
        caller: Caller,
        request_id: str,
        turns: asyncio.Semaphore,
    ) -> None:
        self._calls = calls
        self._answering = answering
        self._context = context
        self._caller = caller
        self._request_id = request_id
        self._turns = turns
        self._writing = asyncio.Lock()
        self._answers: set[asyncio.Task[None]] = set()
        self.broken = asyncio.Event()
        """Set when no more answers can be written."""
        self.is_slow = False
        """Broken because the client does not read."""

    async def read_all(self, most: int) -> None:
        """Read requests until there are no more, waiting while ``most`` are unanswered."""
        room = asyncio.Semaphore(most)
        while not self.broken.is_set():
            await room.acquire()
            request = await self._context.read()
            if request is EOF:
                return
            answer = asyncio.create_task(self._answer(request))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)
            answer.add_done_callback(lambda _: room.release())

    async def _answer(self, request: pb.SearchStreamRequest) -> None:
        response = await self._response(request)
        nbytes = response.ByteSize()
        try:
            async with self._answering.unsent.sending(nbytes), self._writing:
                if not self.broken.is_set():
                    await self._context.write(response)
        except TimeoutError:
            self.is_slow = True
            self._calls.note_slow_reader()
            self.broken.set()
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            self.broken.set()

    async def _response(self, request: pb.SearchStreamRequest) -> pb.SearchStreamResponse:
        started = monotonic()
        entry = Entry(METHOD, self._request_id, self._caller.name)
        try:
            async with self._turns:
                response = await self._answering.search(
                    request.request,
                    self._caller,
                    entry,
                    seconds_left(self._context),
                    monotonic() - started,
                )
            entry.status = "OK"
            return pb.SearchStreamResponse(tag=request.tag, response=response)
        except asyncio.CancelledError:
            entry.status = "CANCELLED"
            raise
        except Exception as error:
            status = self._calls.failed(entry, error)
            failure = pb.Status(code=status.number, message=status.message, reason=status.reason)
            return pb.SearchStreamResponse(tag=request.tag, error=failure)
        finally:
            self._calls.note(entry, started)

    async def answered(self) -> None:
        """Wait until every request that was read is answered, or none can be."""
        while self._answers and not self.broken.is_set():
            await asyncio.wait(list(self._answers), return_when=asyncio.FIRST_COMPLETED)

    def drop(self) -> None:
        """Stop answering."""
        for answer in self._answers:
            answer.cancel()
