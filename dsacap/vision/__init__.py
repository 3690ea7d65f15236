"""Frozen image encoders, the features they give, and generators that judge captions by images."""
