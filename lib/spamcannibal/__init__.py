"""SpamCannibal: refuse mail from known spam sources at the packet level, and say why."""

__version__ = "2.0.0.dev0"
