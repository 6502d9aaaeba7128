"""Where segments are run: in this process now, in resident worker processes for the servers."""
