"""Launchers as processes of their own that need not import for seconds: forked from one that has imported.

Run as `python tests/launch_server.py`, from the project's folder. Each line it reads is a list in JSON: a file for the
launcher's standard output, one for its standard error, null or a signal with a pattern of paths that it is sent at the
first of, and its command line. It answers with the exit status.
"""

import glob
import json
import os
import pathlib
import runpy
import sys
import time


def serve() -> list[str]:
    """In each new process, that launcher's command line; in this one, does not return."""
    for line in sys.stdin:
        out, errors, strike, *command = json.loads(line)
        child = os.fork()
        if child == 0:
            for stream, path in enumerate((os.devnull, out, errors)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
            return command
        ended = 0
        while strike and not ended and not glob.glob(strike[1]):
            time.sleep(0.001)
            ended, status = os.waitpid(child, os.WNOHANG)
        if strike and not ended:
            os.kill(child, strike[0])
        if not ended:
            status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


if __name__ == "__main__":
    # Without a computation: JAX's threads, which computing starts, would not be there in the forked process.
    from ml_collections import config_flags  # noqa: F401

    from seatbelt_jax import attacks, bounds, data, metrics, models, plots, runs, storage, training  # noqa: F401

    sys.argv = serve()
    sys.path[0] = str(pathlib.Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
