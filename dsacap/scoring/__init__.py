"""Scores of captions: metrics, their uncertainty, and signatures that make them comparable."""
