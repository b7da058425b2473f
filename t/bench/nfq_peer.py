"""The second named peer of bench_nfqueue: a NetfilterQueue callback that asks Berkeley DB about every source.

    python nfq_peer.py QUEUE LENGTH DBFILE ARCHIVE

Listed: DROP; unlisted: a time stamp into ARCHIVE, ACCEPT: the obvious Python tarpit. Prints READY when bound.
"""

import sys
import time

from berkeleydb import db
from netfilterqueue import NetfilterQueue


def main() -> None:
    queue, length, listed_file, archive_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    listed, archive = db.DB(), db.DB()
    listed.set_cachesize(0, 256 << 20)
    listed.open(listed_file, dbtype=db.DB_BTREE, flags=db.DB_RDONLY)
    archive.set_cachesize(0, 64 << 20)
    archive.open(archive_file, dbtype=db.DB_BTREE, flags=db.DB_CREATE)

    def on_packet(packet) -> None:
        src = packet.get_payload()[12:16]
        if listed.get(src) is not None:
            packet.drop()
            return
        archive.put(src, int(time.time()).to_bytes(8, "big"))
        packet.accept()

    nfq = NetfilterQueue()
    nfq.bind(queue, on_packet, max_len=length, range=128, sock_len=min(length * 2048, 1 << 30))
    print("READY", flush=True)
    nfq.run()


if __name__ == "__main__":
    main()
