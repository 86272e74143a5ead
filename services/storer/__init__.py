"""The storer: what became of each download goes to MongoDB."""
