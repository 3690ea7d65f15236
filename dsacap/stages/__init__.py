"""The stages of the pipeline. Each reads files, writes files and returns the facts that go into its manifest."""
