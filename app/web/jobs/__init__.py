"""Heavy work: a durable queue, one supervisor, one killable worker process at a time."""
