"""Who may come in, how often and from where, and the socket through which they come."""
