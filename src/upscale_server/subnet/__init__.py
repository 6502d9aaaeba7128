"""The Bittensor face: answers a validator's questions by calling our own HTTP service."""
