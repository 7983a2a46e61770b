"""A step on several ranks, beside a bare loop with PyTorch's DistributedDataParallel or FSDP2; and what continuing does
to the bits.

    torchrun --nproc-per-node 2 tests/bench/bench_ranks.py
    torchrun --nproc-per-node 2 tests/bench/bench_ranks.py --fsdp
    torchrun --nproc-per-node 4 tests/bench/bench_ranks.py --resume

The first trains super-resolution: ten steps of ours, with records and guards, ten of the bare loop, in turns, in the
same processes, on the same batches with the same optimizer; medians of the blocks. The second does so with weights in
shards, and says what a rank holds of weights and optimizer. The third trains a small net by the bare loop twice: in one go, and stopped after 9 of 20 steps and taken up by a new wrapper with the weights and the
optimizer as they were.
"""
import argparse, json, statistics, tempfile, time
from itertools import islice
import torch
from fastai.callback.core import Callback
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from trainlab.engine.loader import Loader
from trainlab.engine.ranks import joining
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.vsr.train import system

BLOCK = 10


class InTurns(Callback):
    "After every block of ours, a block of theirs."
    toward_end, run_valid = True, False
    def __init__(self, theirs, blocks): self.theirs, self.blocks, self.times = theirs, blocks, dict(ours=[], theirs=[])
    def before_fit(self): self.began = time.perf_counter()
    def after_batch(self):
        step = self.learn.step
        if step % BLOCK: return
        self.times['ours'].append((time.perf_counter() - self.began)/BLOCK)
        began = time.perf_counter()
        self.theirs()
        self.times['theirs'].append((time.perf_counter() - began)/BLOCK)
        self.began = time.perf_counter()
    def state_dict(self): return {}


def wrapped(model, fsdp):
    if not fsdp: return DistributedDataParallel(model)
    for p in model.parameters(): p.data = p.data.contiguous()
    for block in model.body: fully_shard(block)
    return fully_shard(model)


def held(tensors) -> int: return sum((t.to_local() if hasattr(t, 'to_local') else t).numel()*t.element_size() for t in tensors)


def bare(learn, loss, ranks):
    "BLOCK steps of a loop as one writes it, each time it is called."
    loader = Loader(learn.plan, learn.loader.sources, shares=ranks.shares)
    model = wrapped(system.model(learn.cfg, learn.facts), learn.cfg.fsdp)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    made = loader.batches()
    def steps():
        for planned, part, batch in islice(made, BLOCK):
            optimizer.zero_grad()
            loss(model(*batch[:-1]), batch[-1]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.)
            optimizer.step()
    return steps


def speed(ranks, blocks: int, fsdp: bool) -> dict:
    with tempfile.TemporaryDirectory() as root:
        cfg = configure(system.config, dict(name='bench', root=root, steps=BLOCK*blocks, batch_size=4, optimizer='adamw', lr=1e-4, ema=0., precision='fp32', previews=0, save_every=0, save_minutes=0, device='cpu', fsdp=fsdp))
        run = Run(cfg)
        run.path.mkdir(parents=True)
        learn = system.learner(cfg, run, ranks=ranks)
        learn.cfg, learn.facts = cfg, system.data(cfg, system.files(cfg)).facts
        learn.dls.loaders = learn.dls.loaders[:1]
        learn.recording.view = lambda *what: None
        turns = InTurns(bare(learn, system.loss(cfg, learn.model), ranks), blocks)
        learn.add_cb(turns)
        learn.fit()
        mine = held([*learn.model.state_dict().values(), *(v for s in learn.opt.opt.state.values() for v in s.values())])
    middle = {k: statistics.median(v[1:]) for k, v in turns.times.items()}
    return dict(ranks=ranks.world, fsdp=fsdp, held_mb=round(mine/2**20, 3), blocks=blocks - 1, **{f'{k}_ms': round(1e3*v, 2) for k, v in middle.items()}, ratio=round(statistics.median(a/b for a, b in zip(turns.times['ours'][1:], turns.times['theirs'][1:])), 3))


def trained(ranks, stops) -> list:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 1, 3, padding=1))
    memory, losses = {}, []
    for first, end in zip([0, *stops], [*stops, 20]):
        model = DistributedDataParallel(net)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        if memory: optimizer.load_state_dict(memory)
        for step in range(first, end):
            x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(100*step + ranks.rank))
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), x.square())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        memory = optimizer.state_dict()
    return [p.detach().clone() for p in net.parameters()]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--blocks', type=int, default=12); p.add_argument('--resume', action='store_true'); p.add_argument('--fsdp', action='store_true')
    opt = p.parse_args()
    torch.set_num_threads(1)
    with joining(torch.device('cpu')) as ranks:
        if opt.resume:
            whole, again, cut = trained(ranks, []), trained(ranks, []), trained(ranks, [9])
            apart = lambda other: max((a - b).abs().max().item() for a, b in zip(whole, other))
            said = dict(ranks=ranks.world, ddp_in_one_go_twice=apart(again), ddp_stopped_and_continued=apart(cut))
        else: said = speed(ranks, opt.blocks, opt.fsdp)
    if ranks.first: print(json.dumps(said))


if __name__ == '__main__': main()
