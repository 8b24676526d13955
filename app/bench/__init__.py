"""Measurements, always side by side with a named baseline, as `fieldscape bench` runs them."""
