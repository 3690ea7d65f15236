"""Scoring captions of any origin: from files or dictionaries to scores."""
