"""The peer of bench_web.py: a Flask page that returns a constant, under waitress as our pages are.

python t/bench/web_peer.py PORT THREADS
"""

import sys

from flask import Flask
from waitress import serve

app = Flask(__name__)
PAGE = "<!doctype html><title>constant</title><p>" + "a constant page " * 150


@app.get("/<path:path>")
def constant(path: str) -> str:
    return PAGE


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=int(sys.argv[2]))
