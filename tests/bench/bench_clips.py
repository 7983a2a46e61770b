"""Thousands of clips in a folder: the first start, the next one, open files and memory.

python tests/bench/bench_clips.py [--clips 2000] [--folder KEPT]
Makes one tiny clip and copies of it with other bytes behind, then times what a run does before its first step: list the
folder, know it by its content, look at every clip, decode it; then 2,000 items, drawn from all of them.
"""
import argparse, os, resource, shutil, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np
from trainlab.media.video import write_video

START = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from trainlab.video_vae.data import data_facts, sources, validation
from trainlab.media.clips import list_clips
import numpy as np, os
begun = time.perf_counter(); lap = lambda: round(time.perf_counter() - begun, 2)
files = list_clips(sys.argv[1]); listed = lap()
print(len(files.contents['train']), 'listed', listed, 'known by content', lap(), end=' ')
found = sources(files, {'16x4': (16, 4)}, side=0); judged = validation(files, 16, 4)
print('ready', lap(), 'files', data_facts(found, files, judged)['files'], end=' ')
source, rng = found['16x4'], np.random.default_rng(0)
begun = time.perf_counter()
total = sum(int(source.item(int(i), rng)[0].sum()) for i in rng.integers(len(source), size=2000))
print('an item', round(lap()/2, 3), 'ms; open files', len(os.listdir('/proc/self/fd')), 'memory', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024, 'MB; sum', total)
"""

def make(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, 8, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    kinds = [write_video(folder/f'clip_{k:05d}.mp4', (np.roll(x, i + k, 1) for i in range(12)), preset='ultrafast').read_bytes() for k in range(20)]
    for k in range(20, n): (folder/f'clip_{k:05d}.mp4').write_bytes(kinds[k % 20] + b'\0\0\0\x10free' + k.to_bytes(8))

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--clips', type=int, default=2000); p.add_argument('--starts', type=int, default=3)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        d = Path(d); (d/'clips').mkdir(); make(d/'clips', a.clips)
        env = {**os.environ, 'TRAINLAB_CACHE': str(d/'cache')}
        for k in range(a.starts):
            t = time.perf_counter()
            done = subprocess.run([sys.executable, '-c', START, str(d/'clips')], env=env, capture_output=True, text=True)
            print('first' if not k else 'next ', f'{time.perf_counter() - t:6.2f} s with imports;', done.stdout.strip() or done.stderr[-2000:])

if __name__ == '__main__': main()
