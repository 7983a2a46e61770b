"""Frames a second and peak memory of upscaling a 640x360 film by 3.

python tests/bench/bench_upscale.py [--size nano] [--design splat] [--frames 20] [--threads 2]
Run it with two lengths: the peak must not grow.
"""
import argparse, resource, tempfile, time
from pathlib import Path
import numpy as np
import torch
from trainlab.media.samples import photo, view
from trainlab.media.video import write_video
from trainlab.vsr.model import vsr_model
from trainlab.vsr.upscale import upscale

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--size', default='nano'); p.add_argument('--design', default='splat'); p.add_argument('--frames', type=int, default=20); p.add_argument('--threads', type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    x = photo('galaxies')
    with tempfile.TemporaryDirectory() as d:
        clip = write_video(Path(d)/'in.mp4', (view(x, 20 + .7*k, 30 + 1.3*k, 1.3, 360, 640).clip(0, 255).astype(np.uint8) for k in range(a.frames)))
        start = time.perf_counter()
        upscale(clip, Path(d)/'out.mp4', vsr_model(a.design, a.size))
        seconds = time.perf_counter() - start
    print(f'{a.design} {a.size}, {a.threads} threads: {a.frames} frames 640x360 to 1920x1080 in {seconds:.1f} s, {a.frames/seconds:.2f} frames/s, '
          f'peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024:.0f} MB')

if __name__ == '__main__': main()
