"""The api: HTTP in, HTTP out."""
