"""Modal sandboxes for ramure."""
