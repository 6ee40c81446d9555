"""For tests, of programs and plugins: scripted model, cassettes, scripted harness, contract suites.

What imports pytest (contract suites, the plugin), machines in memory and faults are modules of
their own. ``KIT`` is the version of it all.
"""

from ramure.testing._installed import installed
from ramure.testing._playback import CassetteError, NoMatch, UnusedInteractions
from ramure.testing._version import KIT
from ramure.testing.cassette import Cassette
from ramure.testing.harness import ScriptedHarness
from ramure.testing.model import ScriptedModel
from ramure.testing.request import Message, Request, ToolResult
from ramure.testing.script import (
    BrokenJson,
    Crash,
    Delay,
    Drop,
    Exit,
    Fail,
    Finish,
    Hang,
    Part,
    Raw,
    Script,
    Text,
    Think,
    ToolCall,
    Turn,
)
from ramure.values import Usage

__all__ = [
    "KIT",
    "BrokenJson",
    "Cassette",
    "CassetteError",
    "Crash",
    "Delay",
    "Drop",
    "Exit",
    "Fail",
    "Finish",
    "Hang",
    "Message",
    "NoMatch",
    "Part",
    "Raw",
    "Request",
    "Script",
    "ScriptedHarness",
    "ScriptedModel",
    "Text",
    "Think",
    "ToolCall",
    "ToolResult",
    "Turn",
    "UnusedInteractions",
    "Usage",
    "installed",
]
