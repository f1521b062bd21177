"""A local S3-compatible server: ``python s3_server.py`` prints its port and serves until it ends.

Requests are served one at a time: moto looks at the conditions of a write and then writes, and two
writers at once could both find their conditions met, which no real store allows.
"""

import logging
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()

    def serve(environment, start_response):
        with one_at_a_time:
            return [b"".join(application(environment, start_response))]

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=QuietHandler)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
