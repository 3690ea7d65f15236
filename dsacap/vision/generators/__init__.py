"""Generators that turn a caption back into an image or its features, and judges built on them."""
