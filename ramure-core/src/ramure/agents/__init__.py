"""Agents: coding agents on machines, as a program sees them."""
