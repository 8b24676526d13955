"""Unbounded scenes, block after block."""
