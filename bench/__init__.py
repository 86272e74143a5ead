"""`make bench`: how fast Bowerbird is, beside what people use instead and beside the machine's own limit (docs/performance.md)."""
