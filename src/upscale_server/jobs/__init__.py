"""Jobs that survive: what a job is, where it is kept, and who carries it from its source to its result."""
