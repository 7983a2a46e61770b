"""How fast a curriculum of sizes comes to where training at full size comes.

    python tests/bench/bench_curriculum.py --minutes 5 --share 0.6 --seed 0
    python tests/bench/bench_curriculum.py --sizes 48 96 192              sides of 1 to 2 to 4, as in the preset of three phases

Trains the nano video VAE for so many CPU minutes at the last size alone, and for that share of them from the first size on, on the
clips and by the scores of bench_video_vae.py. One thread: set OMP_NUM_THREADS=1. Prints one line of JSON.
"""
import argparse, json, tempfile
from pathlib import Path
import torch
from bench_video_vae import FIXED, Clock, linked, scored
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.video_vae.train import Config, system

RATES = (5e-4, 4e-4, 3e-4, 0.)
TIME = (.5, .25, .25)  # share of the curriculum's time


def lasting(steps: float) -> dict[str, int]: return dict(steps=int(steps), warmup=min(20, int(steps)//4))


def train(data: Path, root: str, seed: int, phases: list[dict], score: bool) -> tuple[float, dict]:
    cfg = configure(Config, {k: v for k, v in FIXED.items() if k not in ('resolution', 'frames', 'batch_size')} | dict(name='bench', data=str(data), root=root, seed=seed, phases=phases, resume=False))
    run, clock = Run(cfg), Clock()
    with run.open():
        learn = system.learner(cfg, run); learn.dls.loaders = learn.dls.loaders[:1]
        system.begin(learn); learn.add_cb(clock); learn.fit()
        with learn.averaged(): return clock.seconds, scored(learn.model, data, cfg.precision) if score else {}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=5); p.add_argument('--share', type=float, default=.6); p.add_argument('--seed', type=int, default=0)
    p.add_argument('--sizes', type=int, nargs=3, default=(64, 96, 128), help='pixels a side, by phase')
    opt = p.parse_args(); torch.set_num_threads(1)
    sizes = [dict(name=n, resolution=r, frames=17, batch_size=4) for n, r in zip(('small', 'medium', 'full'), opt.sizes)]
    with tempfile.TemporaryDirectory() as root:
        data = linked(Path(root)/'video')
        train(data, root, 0, [sizes[0] | dict(steps=3)], False)
        each = {p['name']: train(data, root, 0, [p | dict(steps=8)], False)[0]/8 for p in sizes}
        seconds = 60*opt.minutes
        full_time, full = train(data, root, opt.seed, [sizes[-1] | dict(lr=RATES[0], **lasting(seconds/each['full']))], True)
        phases = [p | dict(lr=a, min_lr=b, **lasting(opt.share*seconds*t/each[p['name']])) for p, t, a, b in zip(sizes, TIME, RATES, RATES[1:])]
        time, curriculum = train(data, root, opt.seed, phases, True)
    print(json.dumps(dict(seed=opt.seed, sizes=opt.sizes, floor=full['floor'], full=dict(cpu_seconds=round(full_time), psnr=full['psnr']), curriculum=dict(cpu_seconds=round(time), psnr=curriculum['psnr'], steps=[p['steps'] for p in phases]),
                          time_ratio=round(time/full_time, 3), db_ahead=round(curriculum['psnr'] - full['psnr'], 3))))


if __name__ == '__main__': main()
