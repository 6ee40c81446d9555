"""Harnesses that come with ramure."""
