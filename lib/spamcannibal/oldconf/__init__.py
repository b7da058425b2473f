"""The settings files of the original SpamCannibal: Perl data, read without Perl, and what of it these settings have."""
