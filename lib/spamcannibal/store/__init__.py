"""The Berkeley DB store and its journal; nothing outside this package imports berkeleydb."""
