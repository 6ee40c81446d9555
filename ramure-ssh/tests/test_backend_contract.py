"""The contract of backends over a real server."""

from typing import ClassVar

import pytest

from ramure.testing.backends import BackendContract
from ramure_ssh.image import SSHImage

FOUND = "a host is not asked where its machines work: found ones work in the home"


class TestBackend(BackendContract):
    known_failures: ClassVar = {"test_what_was_found_can_be_attached_to": FOUND}
    host = "ssh://box"
    wrong_hosts = ("{name}", "{name}+variant://box", "{name}://a b")

    @pytest.fixture
    def backend(self, backend):
        return backend

    @pytest.fixture
    def image(self, box, work):
        return SSHImage(workdir=work, relay=False)
