"""The HTTP client of our own servers, for the command line, the named scripts and the subnet face."""

from upscale_server.client.api import Client

__all__ = ["Client"]
