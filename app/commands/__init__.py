"""One module for each command: `register(app)` adds it. Heavy imports happen inside the commands."""
