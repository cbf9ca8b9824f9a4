"""Measure the whole tool against gold questions."""
