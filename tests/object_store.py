"""A server that speaks S3, for tests: moto's, in a thread of this process."""

import contextlib
import os
import urllib.request
from collections.abc import Iterator

BUCKET = "s3://videos"


@contextlib.contextmanager
def served() -> Iterator[dict[str, str]]:
    """Yields the environment that its users need; it is set here, too. There is one bucket, `BUCKET`."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        # What an earlier server of this process held is still there.
        reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(BUCKET)
        yield environment
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        s3fs.S3FileSystem.clear_instance_cache()
        # What is stored outlives the server: the next one would have it.
        urllib.request.urlopen(f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset", data=b"").close()
        server.stop()
