"""The contract of backends over sandboxes."""

import pytest

from ramure.testing.backends import BackendContract
from ramure_modal.image import ModalImage


class TestBackend(BackendContract):
    nonsense = "no image"

    @pytest.fixture
    def backend(self, backend):
        return backend

    @pytest.fixture
    def image(self):
        return ModalImage("bare:1", workdir="/work")
