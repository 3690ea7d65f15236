"""Metrics of tokenised captions, each a function that returns a `MetricResult`."""
