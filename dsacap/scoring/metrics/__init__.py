"""Metrics: functions from tokenised captions to a `MetricResult`, and what they are computed by."""
