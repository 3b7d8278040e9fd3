"""Clients of the search service."""
