"""Verified downloads, and archives unpacked safely."""
