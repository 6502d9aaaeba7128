"""The segments of a server's jobs done by other machines: what is done, and how, is the same as here."""
