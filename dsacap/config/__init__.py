"""The configuration of an experiment: read from YAML and checked before anything runs."""
