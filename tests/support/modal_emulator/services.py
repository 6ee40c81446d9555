"""What both gRPC services share: what is not implemented is not offered, and calls can fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler


@dataclass
class Fault:
    """What happens to calls of one method: ``delay`` seconds, then ``status``; ``count`` times.

    ``about``: words of the calls that are meant; a program's signs of life are calls, too.
    """

    method: str
    status: str | None = None
    message: str = "for a test"
    delay: float = 0.0
    count: int = 1_000_000
    about: str = ""


class Service:
    """Methods with the names of the service's. Those that are generators answer with a stream."""

    def __init__(self, base: type, faults: list[Fault]) -> None:
        self._base = base
        self._faults = faults
        self.calls: dict[str, int] = {}

    def __mapping__(self) -> dict[str, Handler]:
        stubs = {name: getattr(self, name, None) or _unimplemented for name in dir(self._base)
                 if name[0].isupper()}  # fmt: skip
        every = type("Every", (self._base,), {**stubs})().__mapping__()
        found = {}
        for path, handler in every.items():
            name = path.rpartition("/")[2]
            if work := getattr(self, name, None):
                found[path] = handler._replace(func=self._served(name, work, handler.cardinality))
        return found

    def _served(self, name: str, work: Any, cardinality: Cardinality) -> Any:
        async def serve(stream: Any) -> None:
            self.calls[name] = self.calls.get(name, 0) + 1
            if cardinality is Cardinality.STREAM_UNARY:
                await self._fail(name, "")
                await stream.send_message(await work(stream))
                return
            request = await stream.recv_message()
            await self._fail(name, request)
            if cardinality is Cardinality.UNARY_STREAM:
                async for message in work(request):
                    await stream.send_message(message)
            else:
                await stream.send_message(await work(request))

        return serve

    async def _fail(self, name: str, request: Any) -> None:
        for fault in self._faults:
            if fault.method == name and fault.count > 0 and fault.about in str(request):
                fault.count -= 1
                await asyncio.sleep(fault.delay)
                if fault.status:
                    raise GRPCError(Status[fault.status], fault.message)


async def _unimplemented(self: Any, stream: Any) -> None:
    raise NotImplementedError
