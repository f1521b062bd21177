"""Publish in processes that are meant to be killed.

Each line of standard input is the JSON of the arguments of `publish`. A forked child runs it; its
process id is printed at once, and its exit status when it has ended.
"""

import json
import os
import sys

from storage.remote import open_bucket, publish_replica, replica_address
from storage.store import open_store


def publish(store, url, endpoint, with_features):
    bucket = open_bucket(replica_address(url, endpoint=endpoint))
    publish_replica(open_store(store), bucket, with_features=with_features)


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            publish(**json.loads(line))
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
