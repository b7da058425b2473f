#!/usr/bin/env python3
"""The pages of SpamCannibal under a CGI server; conf/web says how.

SPAMCANNIBAL_PYTHON is the Python that has the program, if it is not where the README has it; SPAMCANNIBAL_CONFIG the
settings. The user it runs as must be in the database's group; to take requests for removal he must be able to write.
"""

import os
import sys

PYTHONS = ("/opt/spamcannibal/bin/python", "/usr/lib/spamcannibal/bin/python")

try:
    from spamcannibal.commands.web import cgi
except ImportError as error:
    tried = os.environ.get("SPAMCANNIBAL_TRIED", "").split(":")
    for python in (os.environ.get("SPAMCANNIBAL_PYTHON", ""), *PYTHONS):
        if python not in tried and os.access(python, os.X_OK):
            os.environ["SPAMCANNIBAL_TRIED"] = ":".join([*tried, python])
            os.execv(python, [python, __file__])
    print(f"cannibal.cgi: {error}; set SPAMCANNIBAL_PYTHON to the Python that has the program", file=sys.stderr)
    print("Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 30\r\n\r")
    print("This service is not set up yet.")
    sys.exit()

cgi()
