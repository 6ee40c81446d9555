"""The contract of backends over a real server."""

import pytest

from ramure.testing.backends import BackendContract
from ramure_ssh.image import SSHImage


class TestBackend(BackendContract):
    host = "ssh://box"
    wrong_hosts = ("{name}", "{name}+variant://box", "{name}://a b")

    @pytest.fixture
    def backend(self, backend):
        return backend

    @pytest.fixture
    def image(self, box, work):
        return SSHImage(workdir=work, relay=False)
