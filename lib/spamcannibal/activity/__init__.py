"""What happened, as numbers: added up, put into tables and drawn. Pure; store/activity.py keeps it."""
