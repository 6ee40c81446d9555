"""What this plugin registers with ramure. Imports no SDK."""

RAMURE_CONTRACT = 1
