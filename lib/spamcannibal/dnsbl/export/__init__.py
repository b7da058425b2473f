"""What is listed, written for other programs: see formats.py for the table of formats."""
