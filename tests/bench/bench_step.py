"""What the engine costs: a fit with records and checkpoints over a bare PyTorch loop on the same batches.

    python tests/bench/bench_step.py

Rounds of both, alternating; the ratio of the median times. The loop has what the fit has: autocast, clipping, the learning rate set at every step.
"""
import argparse, statistics, tempfile, time
from functools import partial
import torch
from torch import nn
from trainlab.engine.device import autocast
from trainlab.engine.learner import SeekableLearner
from trainlab.engine.loader import Loader
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.system import callbacks
from trainlab.vsr.data import sources
from trainlab.vsr.train import Config, build, loss_of, plan


def setup(cfg):
    found = sources(crop=cfg.crop, frames=cfg.frames)
    loader = Loader(plan(cfg, {k: len(s) for k, s in found.items()}), found)
    return loader, build(cfg).to(memory_format=torch.channels_last), loss_of(cfg), partial(torch.optim.AdamW, lr=cfg.lr, betas=(.9, .99), weight_decay=0.)


def bare(cfg) -> float:
    loader, model, loss_func, opt_func = setup(cfg)
    opt = opt_func(model.parameters()); model.train()
    began = time.perf_counter()
    for step, _, (lr, gt) in loader.batches():
        for group in opt.param_groups: group['lr'] = step.lr
        with autocast(loader.device, cfg.precision): loss = loss_func(model(lr), gt)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
        opt.step(); opt.zero_grad()
    return (time.perf_counter() - began)/cfg.steps


def engine(cfg, root) -> float:
    loader, model, loss_func, opt_func = setup(cfg)
    run = Run(cfg.model_copy(update=dict(name=f'run{time.monotonic_ns()}', root=root)))
    with run.open():
        learn = SeekableLearner(loader, model, loss_func, opt_func=opt_func, precision=cfg.precision, clip=cfg.clip, cbs=callbacks(run))
        began = time.perf_counter(); learn.fit()
        return (time.perf_counter() - began)/cfg.steps


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--steps', type=int, default=100); p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--size', default='small'); p.add_argument('--crop', type=int, default=32); p.add_argument('--batch-size', type=int, default=2)
    opt = p.parse_args()
    cfg = configure(Config, dict(steps=opt.steps, size=opt.size, crop=opt.crop, batch_size=opt.batch_size, save_every=50, ema=0))
    with tempfile.TemporaryDirectory() as root:
        bare(cfg.model_copy(update=dict(steps=5)))
        times = [(bare(cfg), engine(cfg, root)) if n % 2 else (engine(cfg, root), bare(cfg))[::-1] for n in range(opt.rounds)]
    loop, fit = (1000*statistics.median(t) for t in zip(*times))
    print(f'{opt.size}, crop {opt.crop}, batch {opt.batch_size}: bare loop {loop:.1f} ms a step, engine {fit:.1f} ms, ratio {fit/loop:.3f} (rounds: {", ".join(f"{b/a:.3f}" for a, b in times)})')


if __name__ == '__main__': main()
