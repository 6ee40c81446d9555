"""The backend keeps the contract of backends."""

import pytest

from ramure.testing.backends import BackendContract
from ramure_bubblewrap.backend import BubblewrapBackend


# --8<-- [start:contract]
class TestContract(BackendContract):
    wrong_hosts = ("{name}+variant", "{name}://box")
    nonsense = "/no/such/folder"

    @pytest.fixture
    async def backend(self):
        backend = BubblewrapBackend()
        yield backend
        await backend.aclose()


# --8<-- [end:contract]
