"""1000 of 2500 frames through the cache, against decoding all of them every epoch.

python tests/bench/bench_sampling.py [--frames 2500] [--use 1000] [--epochs 3]
Makes a 720p H.264 clip (one keyframe in 250), then times whole epochs in which every frame used is read as RGB.
"""
import argparse, tempfile, time
from fractions import Fraction
from pathlib import Path
import av
import numpy as np
from trainlab.media.frames import cached_frames
from trainlab.media.video import stream_frames

def make(path, n, w=1280, h=720):
    "A textured picture that drifts, with a little noise: as hard to decode as a film."
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (h//8 + 40, w//8 + 40)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    noise = [rng.integers(0, 12, (h, w), dtype=np.uint8) for _ in range(5)]
    with av.open(str(path), 'w') as out:
        s = out.add_stream('libx264', rate=Fraction(25), options=dict(preset='veryfast', crf='23'))
        s.width, s.height, s.pix_fmt, s.codec_context.gop_size = w, h, 'yuv420p', 250
        for i in range(n):
            y = coarse[i % 160:i % 160 + h, (2*i) % 160:(2*i) % 160 + w] // 2 + 60 + noise[i % 5]
            f = av.VideoFrame.from_ndarray(np.concatenate([y, np.full((h//2, w), 128, np.uint8)]), format='yuv420p')
            out.mux(s.encode(f))
        out.mux(s.encode())

def timed(f):
    t = time.perf_counter(); used = f()
    return time.perf_counter() - t, used

def read_all(frames):
    "Touch every pixel of every frame, as training would."
    return sum(1 for x in frames if x.sum(dtype=np.int64) >= 0)

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--frames', type=int, default=2500); p.add_argument('--use', type=int, default=1000); p.add_argument('--epochs', type=int, default=3)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        clip = Path(d)/'clip.mp4'; make(clip, a.frames)
        print(f'{a.frames} frames 1280x720, {clip.stat().st_size/1e6:.0f} MB')
        every, n = timed(lambda: read_all(stream_frames(clip)))
        print(f'decode all, every epoch      {every:7.2f} s  ({n} frames)')
        for e in range(a.epochs):
            t, n = timed(lambda: read_all(cached_frames(clip, n=a.use, folder=d)))
            print(f'cache, epoch {e + 1}               {t:7.2f} s  ({n} frames)   {every/t:6.1f} times faster')

if __name__ == '__main__': main()
