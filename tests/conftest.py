"Tests that cross processes. `pytest` runs the essential ones, `pytest -m slow` the long ones."
import os, subprocess, sys
from pathlib import Path
import pytest

HERE = Path(__file__).parent


@pytest.fixture
def script():
    "Run a script of this folder with its arguments; what it printed. It runs beside others, so it gets no terminal and no port."
    def run(name, *args, timeout=900):
        done = subprocess.run([sys.executable, HERE/name, *map(str, args)], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout
    return run
