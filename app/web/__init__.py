"""The web page: server, pages and browser components."""
