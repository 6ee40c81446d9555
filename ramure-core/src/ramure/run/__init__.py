"""One run: a root process and all beneath it."""
