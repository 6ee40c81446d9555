"""Sandboxes of this computer as machines for ramure, and an agent that needs no model."""

from ramure_bubblewrap.image import BubblewrapImage

__all__ = ["BubblewrapImage"]
