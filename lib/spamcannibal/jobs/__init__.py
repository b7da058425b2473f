"""The cron path: which remembered addresses are listed, which listings are kept, and what is cleared away."""
