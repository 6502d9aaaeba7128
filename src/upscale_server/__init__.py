"""upscale-server: self-hosted video and image super-resolution that loses nothing."""

__version__ = "0.1.0"
