"""Processes: running ``@agent_process`` functions, and what a program calls inside them."""
