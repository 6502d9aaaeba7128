"""What the servers tell a monitoring system: a table of figures, and the one place that counts and writes them."""

from upscale_server.metrics.figures import FIGURES, Figure, Reading, Server
from upscale_server.metrics.metrics import CONTENT_TYPE, Ask, Metrics, Work

__all__ = ["CONTENT_TYPE", "FIGURES", "Ask", "Figure", "Metrics", "Reading", "Server", "Work"]
