"""Plugins: what is installed, what it offers, and what is wrong with it.

manager.py     Plugins: the one typed façade in front of all hooks
discovery.py   entry points to registered plugins; what is broken becomes a problem and is left out
report.py      what people are told: problems and descriptions
registry.py    who claims which name
missing.py     the known plugins that can be installed, for messages
builtin.py     what core brings, registered through the same hooks as everybody's
"""

from ramure.plugins.manager import Plugins, resolve
from ramure.plugins.report import PluginDescription, PluginProblem

__all__ = [
    "PluginDescription",
    "PluginProblem",
    "Plugins",
    "resolve",
]
