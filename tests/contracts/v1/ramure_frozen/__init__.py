"""A plugin that was written for version 1 of ramure's contracts. It stays as it is."""
