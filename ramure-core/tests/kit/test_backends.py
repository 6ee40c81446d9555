"""The contract of backends over the local one."""

import pytest

from ramure.backends import _records as records
from ramure.backends.local import LocalBackend, LocalImage
from ramure.testing.backends import BackendContract


class TestLocalBackend(BackendContract):
    wrong_hosts = ("{name}+variant", "{name}://box")
    nonsense = "/no/such/folder"

    @pytest.fixture
    async def backend(self, ramure_home):
        backend = LocalBackend()
        yield backend
        await backend.aclose()

    @pytest.fixture
    def image(self, tmp_path_factory):
        return LocalImage(tmp_path_factory.mktemp("work"))

    @pytest.fixture
    def half_made(self, workshop):
        def make(name):
            records.create(records.plan(name, workshop.labels, workshop.image.workdir, {}))

        return make
