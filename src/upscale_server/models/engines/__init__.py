"""One file per inference runtime; each turns a card into an `Upscaler`."""
