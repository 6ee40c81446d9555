"""The contract of backends over sandboxes."""

from typing import ClassVar

import pytest

from ramure.testing.backends import BackendContract
from ramure_modal.image import ModalImage

FOUND = "a sandbox is not asked where it works: found ones work in the home"


class TestBackend(BackendContract):
    known_failures: ClassVar = {"test_what_was_found_can_be_attached_to": FOUND}
    nonsense = "no image"

    @pytest.fixture
    def backend(self, backend):
        return backend

    @pytest.fixture
    def image(self):
        return ModalImage("bare:1", workdir="/work")
