#!/usr/bin/env python3
"""The activity report of SpamCannibal under a CGI server: as cannibal.cgi, but its first page is the report."""

import os
import runpy

os.environ["SPAMCANNIBAL_ROOT"] = "/activity"
runpy.run_path(os.path.join(os.path.dirname(__file__), "cannibal.cgi"), run_name="__main__")  # noqa: PTH118, PTH120
