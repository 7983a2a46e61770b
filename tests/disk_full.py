"""Fill the disk, or take its last inodes, at any write: what is said, and what is lost.

    python tests/disk_full.py --sizes 50        # needs root, and loop devices
    python tests/disk_full.py --sizes 50 --what clips

`formats` writes checkpoints, records, events, a finished model and what is said of the run; `clips` trains on videos, whose
frames and index are kept on the same disk, and draws previews, too. Each run has a file system with so many bytes or files left. It ends, or it says in words that the disk is full; then
there is room again, the same command is given, and what comes out must equal a run that was left alone.
"""
import argparse, json, os, random, subprocess, sys, tempfile, traceback
from functools import partial
from collections import Counter
from pathlib import Path
import own_system
from killing import outcome, same, train
from power import KIND, mounted, unmounted
from trainlab.media import frames
from trainlab.media.video import MediaError
from trainlab.run.config import configure
from trainlab.run.folder import RunError

MEGABYTES, FILES = 12, 180
VIDEOS = '''
import sys, numpy as np
from trainlab.media.video import write_video
for n in range(3): write_video(f'{sys.argv[1]}/{n}.mp4', (np.full((64, 96, 3), 20*n + k, np.uint8) for k in range(60)), preset='ultrafast')
'''


def train_formats(root: str, name: str) -> None: train(root, name, *KIND)


def train_clips(data: str, root: str, name: str) -> None:
    "With a cache beside the run."
    os.environ['TRAINLAB_CACHE'], frames.RESERVE = f'{root}/cache', 0
    own_system.train(configure(own_system.Config, dict(name=name, root=root, data=data, size=16, batch_size=2, steps=40, save_every=8, preview_every=10, previews=2, ema=0)))


def attempted(train, root: Path, name: str, log: Path) -> str:
    "Train in a process of its own: '' or what it said: the class of the error and its message."
    pid = os.fork()
    if not pid:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1); os.dup2(out, 2)
        try: train(str(root), name)
        except (RunError, MediaError) as e: os.write(out, f'\nRunError: {e}'.encode()); os._exit(3)
        except BaseException: os.write(out, traceback.format_exc().encode()); os._exit(4)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    said = log.read_text()
    if os.waitstatus_to_exitcode(status) == 4: return 'RAW ' + said[-1500:]
    return said.rpartition('\nRunError: ')[2] if status else ''


def left(disk: Path, size: int) -> Path:
    "Take all but `size` bytes."
    free = os.statvfs(disk)
    filler = disk/'filler'
    with filler.open('wb') as f: os.posix_fallocate(f.fileno(), 0, max(1, free.f_bavail*free.f_frsize - size - 8192))
    return filler


def used(disk: Path) -> list[Path]:
    "Take all inodes but a few."
    (disk/'many').mkdir()
    free = os.statvfs(disk).f_favail
    made = [disk/'many'/str(i) for i in range(max(0, free - random.randrange(0, 60)))]
    for path in made: path.touch()
    return made


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--what', choices=('formats', 'clips'), default='formats')
    p.add_argument('--sizes', type=int, default=50); p.add_argument('--inodes', type=int, default=10); p.add_argument('--seed', type=int, default=0)
    opt = p.parse_args(); rng = random.Random(opt.seed); random.seed(opt.seed)
    count, words = Counter(), Counter()
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp); log, clips = tmp/'log', tmp/'clips'; clips.mkdir()
        subprocess.run([sys.executable, '-c', VIDEOS, str(clips)], check=True)
        train_it = dict(formats=train_formats, clips=partial(train_clips, str(clips)))[opt.what]
        assert not attempted(train_it, tmp, 'alone', log), log.read_text()
        alone = outcome(str(tmp), 'alone')
        need = sum(f.stat().st_size for at in ('alone', 'cache') for f in (tmp/at).rglob('*') if f.is_file())
        for n in range(opt.sizes + opt.inodes):
            image, disk, name = tmp/'image', tmp/'disk', f'run_{n}'
            with image.open('wb') as f: f.truncate(MEGABYTES << 20)
            few = n >= opt.sizes
            subprocess.run(['mkfs.ext4', '-q', '-m', '0', *(['-N', str(FILES)] if few else []), str(image)], check=True)
            mounted(image, disk)
            try:
                fill = used(disk) if few else [left(disk, rng.randrange(0, int(1.3*need)))]
                said = attempted(train_it, disk, name, log)
                for path in fill: path.unlink()
                count['runs'] += 1; count['told'] += bool(said); count['raw'] += said.startswith('RAW')
                if said: words[said[:1500 if said.startswith('RAW') else 160].replace(str(disk), '')] += 1
                again = attempted(train_it, disk, name, log)
                count['not continued'] += bool(again)
                if again: print(again)
                else: count['different'] += not same(outcome(str(disk), name), alone)
            finally: unmounted(disk)
    for text, n in words.most_common(12): print(n, text)
    print(json.dumps(dict(runs=0, told=0, raw=0, different=0) | {'not continued': 0} | count))
    sys.exit(bool(count['raw'] or count['different'] or count['not continued']))


if __name__ == '__main__': main()
