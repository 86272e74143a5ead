"""Bowerbird's services: each in its folder, none of which imports another."""
