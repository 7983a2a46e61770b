"What processes cost, in turns, so that a busy machine slows all of them alike."
import os, subprocess, sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cost:
    wall: float  # seconds, from the start of the process to its end
    cpu: float   # seconds, user and system
    peak: float  # megabytes of memory
    said: str    # what it printed


def cost(
    arguments: Sequence[str],  # of Python
    checkout: Path = REPO,     # whose trainlab is imported
) -> Cost:
    "Run a fresh process and measure it."
    place = os.pathsep.join([str(checkout), *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))])
    began = perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], env=os.environ | dict(PYTHONPATH=place), cwd=checkout,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode: raise SystemExit(f'{checkout}: Python {arguments[0]} ended with {process.returncode}.\n{said[-2000:]}')
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss/(1024 if sys.platform == 'linux' else 1024**2), said)


def costs(
    kinds: Mapping[str, tuple[Sequence[str], Path]],  # name -> arguments of Python, checkout
    rounds: int,                                      # after one that is not counted, which fills caches
) -> dict[str, list[Cost]]:
    "Every kind once a round, every other round in the opposite order."
    found = {k: [] for k in kinds}
    for n in range(rounds + 1):
        for name in list(kinds)[::-1 if n % 2 else 1]:
            measured = cost(*kinds[name])
            if n: found[name].append(measured)
    return found


def middle(costs: Sequence[Cost], what: str) -> float: return median(getattr(c, what) for c in costs)


def checkouts(against: Path | None) -> dict[str, Path]:
    "What is compared: this checkout, and another one."
    if against and not (against/'trainlab').is_dir(): raise SystemExit(f'{against}: no trainlab in it. Give the folder of a checkout.')
    return dict(this=REPO) | (dict(other=against.resolve()) if against else {})
