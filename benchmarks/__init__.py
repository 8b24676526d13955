"""Measurements that need a particular machine; `fieldscape bench` runs those that any machine can."""
