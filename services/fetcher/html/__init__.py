"""A page read for its images: pure, bounded, and run in the sandbox (docs/decisions/0007-pages.md)."""
