"""The packet path: the daemon on the kernel queue and the firewall rules that feed it."""
