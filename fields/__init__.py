"""Neural fields: one core for radiance and signed distance, many backends, and conversion between them."""
