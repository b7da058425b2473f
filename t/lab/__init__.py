"""The laboratory of bin/quickstart: a small internet of network namespaces in which the main job happens for real."""
