"""The contract suite of machines, and its part of processes: what all backends' machines do alike.

    from ramure.testing.machines import MachineContract

    class TestMyMachine(MachineContract):
        pty = False  # an ability it lacks

        @pytest.fixture
        async def machine(self):
            machine = await MyBackend().provision(...)
            yield machine
            await machine.destroy()

Every test gets a machine with an empty working directory. Tests skip by declared ability, never by
a machine's name. They need pytest and anyio's plugin (asyncio), and on the machine ``sh``, ``tar``
and the usual small programs (``cat``, ``head``, ``ls``, ``tee``, ``wc``, ``sleep``, …).
"""

from __future__ import annotations

import pytest

_PARTS = ("", "_equip", "_exec", "_files", "_process", "_trees")
pytest.register_assert_rewrite(*(f"ramure.testing._contract{part}" for part in _PARTS))

from ramure.testing._contract_equip import EquipContract  # noqa: E402 after the line above
from ramure.testing._contract_exec import ExecContract  # noqa: E402 after the line above
from ramure.testing._contract_process import ProcessContract  # noqa: E402 after the line above
from ramure.testing._contract_trees import TreeContract  # noqa: E402 after the line above

__all__ = ["MachineContract", "ProcessContract"]


class MachineContract(EquipContract, ExecContract, ProcessContract, TreeContract):
    """Subclass it in a test module and give it a fixture ``machine``.

    Attributes:
        shell: the machine has a shell and the usual small programs. Without them, few tests are
            left, for which ``cat``, ``echo``, ``false`` and ``true`` suffice.
        pty: the machine opens terminals; ``stty`` is there.
        setsid: the machine has ``setsid``, with which children leave their session.
        other_user: a user, not the machine's own, as whom it runs commands; None: it cannot.
        forbidden: a folder that the machine's user may not look into; None: it may do anything.
        patience: seconds after which something that should have ended hangs.
        big: bytes of what the suite calls big.
    """
