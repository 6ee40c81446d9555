"""The contract suite of transports: what every way from a machine to the run does alike.

    from ramure.testing.transports import TransportContract

    class TestMyTransport(TransportContract):
        own_door = True  # the route makes something on the machine, and removes it

        @pytest.fixture
        def transport(self):
            return MyTransport()

        @pytest.fixture
        async def machine(self):
            machine = await MyBackend().provision(...)
            yield machine
            await machine.destroy()

The tests need pytest and anyio's plugin (asyncio), and Python on the machine.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("ramure.testing._contract_transport")

from ramure.testing._contract_transport import TransportContract  # noqa: E402 rewritten from here on

__all__ = ["TransportContract"]
