"""The contract of backends over a real engine."""

import pytest

from ramure.testing.backends import BackendContract
from ramure_docker import DockerImage


class TestBackend(BackendContract):
    nonsense = "no image"

    @pytest.fixture
    def backend(self, backend):
        return backend

    @pytest.fixture
    def image(self):
        return DockerImage("ramure-test/shell", workdir="/work")
