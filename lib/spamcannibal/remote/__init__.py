"""Asking other people's blocklists, and not believing everything that they say."""
