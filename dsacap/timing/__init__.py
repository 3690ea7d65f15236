"""Measurements of latency, throughput, arithmetic and memory."""
