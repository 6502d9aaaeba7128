"""A short-lived child that alone opens untrusted bytes: no network, no secrets, no models, bounded memory and files.

    Cage      in the process that wants the result: it asks, hears of progress, copies frames, and kills what hangs
    outside   its side of the pipe to an inmate; `door_keeper` is that of the pipe to the door
    door      a small process that forks one inmate for each request and never opens a file of a stranger itself
    inmate    does the one request and ends
    jail      what is taken away from an inmate before it sees the first byte: `files` by Landlock, `seccomp` the rest
    room      how much memory that needs
    talk      what they say: JSON and one shared block of memory; nothing that comes out is ever unpickled

What is asked is any function of this package by reference; which one is not this package's business.
"""

from upscale_server.cage.cage import Cage
from upscale_server.cage.jail import Bounds, Locks
from upscale_server.cage.outside import Check, InmateDied
from upscale_server.cage.room import room_for

__all__ = ["Bounds", "Cage", "Check", "InmateDied", "Locks", "room_for"]
