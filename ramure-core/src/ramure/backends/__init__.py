"""Machine backends that come with ramure."""
