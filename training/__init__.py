"""Train, export and measure the built-in networks; not installed with the package."""
