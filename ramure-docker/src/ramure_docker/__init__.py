"""Docker containers for ramure."""
