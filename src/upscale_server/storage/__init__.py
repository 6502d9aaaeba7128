"""Bytes that come and go: sources fetched from strangers, results kept in a folder or an object store."""
