"""Designs of video super-resolution at equal time, trained on real clips, scored on Vid4 calendar x3 BI (Y, crop 3).

    python tests/bench/bench_vsr_designs.py --seconds 60 --seeds 0 1

`seconds` are CPU-seconds of this process (all threads together), batches, alignment and optimizer included, so a busy
machine does not change the ranking. Needs the media folder (TRAINLAB_DATA). Prints one markdown table.
"""
import argparse, copy, math, os, time
from pathlib import Path
import av, numpy as np, torch
from skimage.io import imread
from torch import nn
from torch.nn import functional as F
from trainlab.nn.blocks import bicubic_up
from trainlab.nn.losses import charbonnier
from trainlab.nn.metrics import luma, psnr
from trainlab.vsr.degrade import bicubic_down
from trainlab.vsr.model import VSR, as_float, vsr_model

TRAIN = 'blocks.mp4 juggle.mp4 cars.mp4 bikes.mp4 bbb_film_0_30.webm asl_help.mkv asl_learn.mkv asl_please.mkv'.split()

class EarlyFusion(VSR):
    "All frames stacked, nothing aligned: what a network finds by itself."
    def __init__(self, channels, blocks, frames=7):
        super().__init__(channels, blocks, splat=False)
        self.head = nn.Conv2d(3*frames, channels, 3, padding=1)
    def align(self, lr, flow=None): x = as_float(lr); return x, x.flatten(1, 2) - .5, None

DESIGNS = {
    'single frame': lambda: VSR(32, 8, splat=False),
    'early fusion': lambda: EarlyFusion(32, 8),
    'propagation': lambda: vsr_model('propagation'),
    'splat': lambda: vsr_model('splat'),
    'union': lambda: vsr_model('union'),
}

def clips(folder, frames=90):
    "Half-size clips, the middle `frames` of each: the compression of the files mostly gone."
    for name in TRAIN:
        all_frames = [f.to_ndarray(format='rgb24') for f, _ in zip(av.open(str(folder/name)).decode(video=0), range(2*frames))]
        x = np.stack(all_frames[max(0, (len(all_frames) - frames)//2):][:frames])
        yield bicubic_down(np.ascontiguousarray(x[:, :x.shape[1]//6*6, :x.shape[2]//6*6]), 2)

def item(clips, rng, crop=48, t=7, margin=6, still=.85):
    "(lr, gt): a real piece of a clip, or a still one under a synthetic pan of whole high-resolution pixels."
    size, half = 3*crop, t//2
    while True:
        clip = clips[rng.integers(len(clips))]
        n, h, w, _ = clip.shape
        if rng.random() < still:
            shift = rng.uniform(-6, 6, 2)*np.arange(-half, half + 1)[:, None] + rng.normal(0, .7, (t, 2))
            shift, at = (shift - shift[half]).round().astype(int), np.full(t, rng.integers(n))
        else: shift, at = np.zeros((t, 2), int), rng.integers(n - t + 1) + np.arange(t)
        lo, hi = margin - shift.min(0), np.array([h, w]) - size - margin - shift.max(0)
        if (hi <= lo).any(): continue
        hr = None
        for y, x in rng.integers(lo, hi, (3, 2)):                 # the most textured of three places
            new = np.stack([clip[i, y+a-margin:y+a+size+margin, x+b-margin:x+b+size+margin] for i, (a, b) in zip(at, shift)])
            g = new[half, ..., 1].astype(np.int16)
            texture = abs(np.diff(g, axis=0)).mean() + abs(np.diff(g, axis=1)).mean()
            if hr is None or texture > best: hr, best = new, texture
        if abs(np.diff(hr[:, ::8, ::8].mean((-1,)), axis=0)).mean((1, 2)).max() > 40: continue           # a cut
        cut = margin//3
        return bicubic_down(hr, 3)[:, cut:-cut, cut:-cut], hr[half, margin:-margin, margin:-margin]

def batch(clips, rng, n=4):
    return [torch.from_numpy(np.stack(x)).movedim(-1, -3).contiguous() for x in zip(*(item(clips, rng) for _ in range(n)))]

def train(model, clips, seconds, seed, lr=2e-3):
    "The average weights after `seconds` CPU-seconds, and the steps they took."
    rng, start, step = np.random.default_rng(seed), time.process_time(), 0
    opt, ema = torch.optim.Adam(model.parameters(), lr, betas=(.9, .99)), copy.deepcopy(model)
    while (done := (time.process_time() - start)/seconds) < 1:
        for g in opt.param_groups: g['lr'] = lr*(min(1, step/20) if step < 20 else .01 + .99*.5*(1 + math.cos(math.pi*done)))
        x, gt = batch(clips, rng)
        with torch.autocast('cpu', torch.bfloat16): y = model(x)
        loss = charbonnier(luma(y)/219, luma(gt)/219, eps=.01)
        opt.zero_grad(); loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), .5); opt.step(); step += 1
        with torch.no_grad(): torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - min(.998, step/(step + 10)))
    return ema.eval(), step

@torch.no_grad()
def score(model, lr, gt, frames=7, repeat=False):
    "Mean dB over bicubic, every 4th frame; `repeat`: the centre frame seven times."
    half, gain = frames//2, []
    for i in range(0, len(gt), 4):
        at = np.full(frames, i) if repeat else (np.arange(frames) - half + i).clip(0, len(gt) - 1)
        out = model(lr[at][None])[0]
        gain.append(psnr(out, gt[i], 3) - psnr(bicubic_up(lr[i:i+1]/255)[0], gt[i], 3))
    return torch.stack(gain).mean().item()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=float, default=60)
    p.add_argument('--seeds', type=int, nargs='+', default=[0])
    p.add_argument('--designs', nargs='+', default=list(DESIGNS), choices=list(DESIGNS))
    p.add_argument('--data', type=Path, default=Path(os.environ.get('TRAINLAB_DATA', Path(__file__).parents[3]/'shared/data')))
    a = p.parse_args()
    if not (a.data/'vid4').exists(): raise SystemExit(f'{a.data}: no media here. Set TRAINLAB_DATA.')
    train_clips = list(clips(a.data/'video'))
    truth = np.stack([imread(f) for f in sorted((a.data/'vid4/calendar/GT').glob('*.png'))])
    lr, gt = (torch.from_numpy(x).movedim(-1, -3) for x in (bicubic_down(truth), truth))
    print(f'{a.seconds:g} CPU-seconds each, seeds {a.seeds}\n\n| design | parameters | steps | dB over bicubic | of which from its frames |\n|---|---|---|---|---|')
    for name in a.designs:
        rows = []
        for seed in a.seeds:
            torch.manual_seed(seed); model, steps = train(DESIGNS[name](), train_clips, a.seconds, seed)
            s = score(model, lr, gt); rows.append((steps, s, s - score(model, lr, gt, repeat=True)))
        steps, s, own = np.mean(rows, 0)
        print(f'| {name} | {sum(q.numel() for q in model.parameters())/1e3:.0f}k | {steps:.0f} | {s:+.2f} | {own:+.2f} |', flush=True)

if __name__ == '__main__': main()
