"""The ``ramure`` command."""
