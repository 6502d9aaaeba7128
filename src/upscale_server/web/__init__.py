"""The HTTP face: routes, errors as replies, files, keys; no pixels and no decisions about a job."""
