"""The bench: how fast Citespan is, beside what it stands on and the alternatives."""
