"""The contract suite of backends: how machines are made, found, attached to and removed.

    from ramure.testing.backends import BackendContract

    class TestMine(BackendContract):
        nonsense = "no:such:image"  # what is no image here

        @pytest.fixture
        async def backend(self):
            backend = MyBackend()
            yield backend
            await backend.aclose()

What the machines themselves do is ``ramure.testing.machines``' to check. The tests need pytest and
anyio's plugin (asyncio), and on the machines ``sh``, ``cat`` and ``sleep``.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("ramure.testing._contract_backend")

from ramure.testing._contract_backend import BackendContract  # noqa: E402 rewritten from here on

__all__ = ["BackendContract"]
