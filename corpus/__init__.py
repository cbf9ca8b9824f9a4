"""Documents: what they are, how they are read, split into passages and stored."""
