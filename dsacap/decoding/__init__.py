"""Decoding of many images by any captioner."""
