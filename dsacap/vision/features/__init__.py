"""Image features, or the pixels they are computed from, in shards on disk."""
