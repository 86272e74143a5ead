"""The reference: the documents that describe the API and the events, and their pages."""
