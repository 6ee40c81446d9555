"""pi keeps the contract of harnesses, with a model that does what the messages say."""

import pytest

import parts
from ramure.backends.local import LocalBackend, LocalImage
from ramure.harnesses.pi.harness import PiHarness
from ramure.testing import ScriptedModel
from ramure.testing.harnesses import HarnessContract
from ramure.testing.obedient import obedient
from ramure.values import Host


@pytest.mark.pi
class TestContract(HarnessContract):
    @pytest.fixture
    def harness(self, monkeypatch):
        monkeypatch.setenv("RAMURE_PI", parts.pi_package())
        return PiHarness()

    @pytest.fixture
    async def machine(self, ramure_home, tmp_path):
        work = tmp_path / "work"
        work.mkdir()
        backend, here = LocalBackend(), Host("local")
        labels = {"ramure.run": "r"}
        machine = await backend.provision(LocalImage(work), here, name="here", labels=labels)
        yield machine
        await machine.destroy()
        await backend.aclose()

    @pytest.fixture
    async def given(self, tmp_path):
        async with ScriptedModel(obedient) as model:
            yield {"env": {"PI_CODING_AGENT_DIR": str(model.pi_folder(tmp_path / "pi"))}}
