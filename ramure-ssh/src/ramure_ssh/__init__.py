"""Computers reached by SSH for ramure."""
