"""Modal sandboxes for ramure."""

from ramure_modal.image import ModalImage

__all__ = ["ModalImage"]
