"""The embedded data set: generated pictures of coloured shapes, and the grammar of captions."""
