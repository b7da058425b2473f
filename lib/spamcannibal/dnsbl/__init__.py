"""The DNS path: what is published, how a question is answered, and the server."""
