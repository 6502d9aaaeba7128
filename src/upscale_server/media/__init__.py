"""Pixels and time: probing, decoding, encoding, cutting and joining media; knows no model and no HTTP."""
