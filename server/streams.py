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

METHOD = "SearchStream"


class Streams:
    """All open streams: at most ``most``, each with at most ``requests`` unanswered requests."""

    def __init__(self, calls: Calls, answering: Answering, most: int, requests: int) -> None:
        self._calls = calls
        self._answering = answering
        self._most = most
        self._requests = requests
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
        stream = _Stream(self._calls, self._answering, context, caller, entry.request_id, self._requests)
        reader = asyncio.create_task(stream.read_all())
        self._readers.add(reader)
        try:
            await asyncio.wait([reader])
            await stream.answered()
        finally:
            self._readers.discard(reader)
            stream.drop()
            reader.cancel()
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
        requests: int,
    ) -> None:
        self._calls = calls
        self._answering = answering
        self._context = context
        self._caller = caller
        self._request_id = request_id
        self._room = asyncio.Semaphore(requests)
        self._writing = asyncio.Lock()
        self._answers: set[asyncio.Task[None]] = set()
        self._broken = False
        """Answers cannot be written any more: the client has gone."""

    async def read_all(self) -> None:
        """Read requests until there are no more, waiting while too many are unanswered."""
        while not self._broken:
            await self._room.acquire()
            request = await self._context.read()
            if request is EOF:
                return
            answer = asyncio.create_task(self._answer(request))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def _answer(self, request: pb.SearchStreamRequest) -> None:
        try:
            response = await self._response(request)
            async with self._writing:
                if not self._broken:
                    await self._context.write(response)
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            self._broken = True
        finally:
            self._room.release()

    async def _response(self, request: pb.SearchStreamRequest) -> pb.SearchStreamResponse:
        started = monotonic()
        entry = Entry(self._request_id, METHOD, self._caller.name)
        try:
            response = await self._answering.search(
                request.request, self._caller, entry, seconds_left(self._context)
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
        """Wait until every request that was read is answered."""
        while self._answers:
            await asyncio.wait(list(self._answers))

    def drop(self) -> None:
        """Stop answering."""
        for answer in self._answers:
            answer.cancel()
