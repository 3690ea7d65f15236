"""Runs of the pipeline: the stages, their files, what they load, and their manifests."""
