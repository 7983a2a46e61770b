"""Cut the power at random instants: what is on the disk then goes on to the same bits, or the same command repairs it.

    python tests/power.py --cuts 30        # needs root, and loop devices

Training writes to a file system of its own, in a file that is mounted. A copy of that file, taken while nothing was
written to it (two copies that are equal), is what a disk holds after the power went: what was not synced is not there.
Every other cut comes after a run has said that it is finished. Each copy is mounted, the same command is given again,
and what comes out must equal a run that was left alone, to the last bit.
"""
import argparse, json, os, random, shutil, subprocess, sys, tempfile, time
from pathlib import Path
from killing import attempt, ended, newest, outcome, same
from trainlab.run.config import RunConfig
from trainlab.run.folder import Run
from trainlab.run.weights import whole_model

MEGABYTES = 24
KIND = 'formats', 0, 1, 'fp32'


def mounted(image: Path, at: Path) -> None:
    at.mkdir(exist_ok=True)
    subprocess.run(['mount', '-o', 'loop', str(image), str(at)], check=True)


def unmounted(at: Path) -> None: subprocess.run(['umount', '-l', str(at)], check=True)


def as_cut(image: Path, to: Path) -> None:
    "What the disk holds at one instant."
    while True:
        shutil.copyfile(image, to)
        if to.read_bytes() == image.read_bytes(): return


def finished(root: Path, name: str) -> bool: return bool(Run(RunConfig(name=name, root=str(root))).finished)


def cut(image: Path, disk: Path, copy: Path, name: str, wait: float, after: float | None) -> bool:
    "Train, cut the power after `wait` seconds, or `after` so many since it said that it was finished; whether it had finished."
    pid, began = attempt((str(disk), name, *KIND)), time.monotonic()
    if after is None:
        while time.monotonic() - began < wait and not ended_yet(pid, disk): time.sleep(.005)
    else:
        while not finished(disk, name): time.sleep(.002)
        time.sleep(after)
    was = finished(disk, name)
    as_cut(image, copy)
    try: os.kill(pid, 9); os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError): pass
    return was


def ended_yet(pid: int, root: Path) -> bool:
    try: return ended(pid, str(root))
    except ChildProcessError: return True


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--cuts', type=int, default=30); p.add_argument('--seed', type=int, default=0)
    opt = p.parse_args()
    rng, said = random.Random(opt.seed), dict(cuts=0, after_finished=0, continued=0, different=0, models_lost=0, repaired=0)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp); image, copy, disk, found = tmp/'image', tmp/'copy', tmp/'disk', tmp/'found'
        began = time.monotonic(); pid = attempt((tmp.as_posix(), 'alone', *KIND))
        while not ended(pid, tmp.as_posix()): time.sleep(.01)
        alone, seconds = outcome(str(tmp), 'alone'), time.monotonic() - began
        with image.open('wb') as f: f.truncate(MEGABYTES << 20)
        subprocess.run(['mkfs.ext4', '-q', str(image)], check=True)
        mounted(image, disk)
        try:
            for n in range(opt.cuts):
                late, name = n % 2 == 1, f'run_{n}'
                was = cut(image, disk, copy, name, rng.uniform(.1, seconds), rng.uniform(0, 2) if late else None)
                shutil.rmtree(disk/name, ignore_errors=True)
                mounted(copy, found)
                try:
                    there = newest(str(found), name)
                    whole = whole_model(found/name)
                    pid = attempt((str(found), name, *KIND))
                    while not ended(pid, str(found)): time.sleep(.01)
                    said['cuts'] += 1; said['after_finished'] += was; said['continued'] += there > 0
                    said['repaired'] += was and not whole
                    said['models_lost'] += not whole_model(found/name)
                    said['different'] += not same(outcome(str(found), name), alone)
                finally: unmounted(found)
        finally: unmounted(disk)
    print(json.dumps(said))
    sys.exit(bool(said['different'] or said['models_lost']))


if __name__ == '__main__': main()
