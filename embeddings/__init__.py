"""Passages as vectors and as words, and the search over both."""
