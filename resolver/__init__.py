"""pydns: the resolver that Docker keeps at 127.0.0.11, as a program of its own."""

__version__ = "0.1.0"
