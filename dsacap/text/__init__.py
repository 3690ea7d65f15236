"""Tokenisation of captions and their vocabulary."""
