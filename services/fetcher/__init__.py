"""The fetcher: a URL in, an image or a reason out."""
