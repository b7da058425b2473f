"""`python -m spamcannibal` is the command `spamcannibal`."""

from spamcannibal.commands.main import main

main()
