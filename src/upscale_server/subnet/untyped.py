"""Names for Bittensor's objects, which come without types: a reader sees what is meant, the type checker sees Any.

Values that leave `subnet` have types of our own.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Package: TypeAlias = Any
"""The module `bittensor`."""
Wallet: TypeAlias = Any
Axon: TypeAlias = Any
Subtensor: TypeAlias = Any
AnySynapse: TypeAlias = Any
"""A question of any kind, with its answer."""
