"""How the api is doing, for those who run it: metrics and traces of requests."""
