"""The stages of the pipeline.

Each one reads files, writes files and returns the facts that go into its manifest.
"""
