"""The least that a log costs: a line of JSON, written to an open file and handed to the system."""

import asyncio
import json
import time
from pathlib import Path

from events import measure


async def main():
    with Path("log.jsonl").open("a") as file:  # noqa: ASYNC230 as a log does

        def emit(kind, data):
            file.write(json.dumps({"time": time.time(), "type": kind, "data": data}) + "\n")
            file.flush()

        await measure(emit, None)


asyncio.run(main())
