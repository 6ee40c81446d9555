"""The kit's version; docs/reference/testing-kit.md says which changes raise it."""

KIT = 1
