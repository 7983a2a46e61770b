"""Frames a second and peak memory of upscaling a 640x360 film by 3.

python tests/bench/bench_upscale.py [--size nano] [--design splat] [--frames 20] [--threads 2] [--precision bf16]
Run it with two lengths: the peak must not grow. A run is used in the precision it was trained in, by default bf16.
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
    p.add_argument('--size', default='nano'); p.add_argument('--design', default='splat'); p.add_argument('--frames', type=int, default=20); p.add_argument('--threads', type=int, default=2); p.add_argument('--precision', default='fp32')
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    x = photo('galaxies')
    with tempfile.TemporaryDirectory() as d:
        clip = write_video(Path(d)/'in.mp4', (view(x, 20 + .7*k, 30 + 1.3*k, 1.3, 360, 640).clip(0, 255).astype(np.uint8) for k in range(a.frames)))
        start, cpu = time.perf_counter(), time.process_time()
        upscale(clip, Path(d)/'out.mp4', vsr_model(a.design, a.size), precision=a.precision)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f'{a.design} {a.size}, {a.precision}, {a.threads} threads: {a.frames} frames 640x360 to 1920x1080 in {seconds:.1f} s, {a.frames/seconds:.2f} frames/s, {cpu/a.frames:.2f} CPU s a frame, '
          f'peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024:.0f} MB')

if __name__ == '__main__': main()
