"""What the engine costs: a fit with records and checkpoints over a bare PyTorch loop on the same batches.

    python tests/bench/bench_step.py
    python tests/bench/bench_step.py --against ../older        # and over another checkout's, in turns

Rounds of both, alternating; the ratio of the median times. The loop has what the fit has: autocast, clipping, the
learning rate set at every step. Times are CPU seconds of the process, which a busy machine changes least.
"""
import argparse, json, statistics, tempfile, time
from pathlib import Path
import torch
from torch import nn
from interleaved import checkouts, cost
from trainlab.engine.device import autocast
try:
    from trainlab.run.config import configure
    from trainlab.run.folder import Run
    from trainlab.vsr.train import Config, system
    learner = system.learner
except ImportError:   # as they were called in 0.1
    from trainlab.engine.run import Run, configure
    from trainlab.vsr.train import Config, learner


def seconds(cfg, root: str, loop) -> float:
    "Of a step; nothing is validated."
    run = Run(cfg.model_copy(update=dict(name=f'run{time.monotonic_ns()}', root=root)))
    with run.open():
        learn = learner(run.config, run)
        learn.dls.loaders = learn.dls.loaders[:1]
        began = time.process_time()
        loop(learn)
        return (time.process_time() - began)/cfg.steps


def bare(learn) -> None:
    model, loss_func, clip = learn.model.train(), learn.loss_func, learn.clip
    opt = learn.opt_func(list(model.parameters()))
    for step, _, (lr, gt) in learn.loader.batches():
        for group in opt.param_groups: group['lr'] = step.lr
        with autocast(learn.device, learn.precision): loss = loss_func(model(lr), gt)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        opt.step(); opt.zero_grad()


def engine(learn) -> None: learn.fit()


def measured(opt) -> list[tuple[float, float]]: # seconds a step, by round
    "Of the bare loop, and of the engine."
    values = dict(steps=opt.steps, size=opt.size, crop=opt.crop, batch_size=opt.batch_size, preview_every=0, save_every=50, ema=0)
    cfg = configure(Config, values)
    with tempfile.TemporaryDirectory() as root:
        seconds(configure(Config, values | dict(steps=5)), root, bare)
        both = lambda loops: [seconds(cfg, root, loop) for loop in loops]
        return [tuple(both((bare, engine)) if n % 2 else both((engine, bare))[::-1]) for n in range(opt.rounds)]


def told(name: str, times: list[tuple[float, float]]) -> str:
    loop, fit = (1000*statistics.median(t) for t in zip(*times))
    rounds = ', '.join(f'{b/a:.3f}' for a, b in times)
    return f'{name}: bare loop {loop:.1f} ms a step, engine {fit:.1f} ms, ratio {fit/loop:.3f} (rounds: {rounds})'


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--steps', type=int, default=100); p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--size', default='small'); p.add_argument('--crop', type=int, default=32); p.add_argument('--batch-size', type=int, default=2)
    p.add_argument('--against', type=Path, help='a folder with another trainlab')
    p.add_argument('--json', action='store_true', help='print the times alone')
    opt = p.parse_args()
    if not opt.against:
        times = measured(opt)
        print(json.dumps(times) if opt.json else told(f'{opt.size}, crop {opt.crop}, batch {opt.batch_size}', times))
        return
    one = ['-W', 'ignore', __file__, '--json', '--rounds', '2', '--steps', str(opt.steps), '--size', opt.size, '--crop', str(opt.crop), '--batch-size', str(opt.batch_size)]
    found = {k: [] for k in checkouts(opt.against)}
    for n in range(opt.rounds):
        for name, place in list(checkouts(opt.against).items())[::-1 if n % 2 else 1]:
            found[name] += json.loads(cost(one, place).said.splitlines()[-1])
    for name, times in found.items(): print(told(name, times))
    fit = {k: statistics.median(b for _, b in v) for k, v in found.items()}
    over = {k: statistics.median(b - a for a, b in v) for k, v in found.items()}
    print(f'engine, this over other: {fit["this"]/fit["other"]:.3f}; beyond the loop {1000*over["this"]:.2f} ms a step, other {1000*over["other"]:.2f} ms')


if __name__ == '__main__': main()
