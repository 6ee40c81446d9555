"""Transports that come with ramure."""
