"""The page of a benchmark, and that of captions from files."""
