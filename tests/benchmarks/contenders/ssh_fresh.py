"""Commands and files on an SSH host: the ssh program, a connection for each."""

import asyncio

from ssh_program import both

asyncio.run(both())
