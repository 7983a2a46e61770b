"""Train on several ranks, stop or kill them at random, and compare what comes out.

    python tests/ranks.py --what conv normed vsr vae --worlds 2 4 --stops 3
    python tests/ranks.py --what normed vae --worlds 2 4 --stops 0 --kills 25
    python tests/ranks.py --exact

`conv` has nothing that depends on who computes what, so its losses are those of one process; `normed` has BatchNorm
and dropout; `memory` is `conv` where one rank runs out of memory; `vsr` is super-resolution with Muon; `vae` is a video VAE over phases that end by a plateau, by epochs and by
steps, from an adapter to the whole model, with a PatchGAN. Stops reach one rank, and all of them end together; a kill
takes one rank, and the rest is killed as torch's agent does. What is continued must equal, bit for bit, what was left
alone on as many ranks: losses and scores of all steps, weights, optimizer, averaged weights.

Ranks are forked from a process that has imported everything, so that they start in milliseconds.
"""
import argparse, json, os, random, signal, sys, tempfile, time
from pathlib import Path
import torch, torch.distributed as dist
from fastai.callback.core import Callback
from torch import nn
from killing import PHASES, Config, litter, outcome, same, textures
from trainlab.engine.ranks import joining
from trainlab.run.config import RunConfig, configure
from trainlab.run.folder import Run
from trainlab.system import System
from trainlab.video_vae.model import SIZES
from trainlab.video_vae.train import system as video_vae
from trainlab.vsr.train import system as vsr

MIXED = [dict(name='mixed', steps=14, share=dict(small=.6, large=.4), batch_size=dict(small=5, large=4), gradient_accumulation=dict(small=2), lr=1e-2, warmup=5),
         dict(name='large', steps=10, share=dict(large=1.), batch_size=3, gradient_accumulation=3, lr=1e-3)]


EXACT, UNTIL = [0], [-1]   # shares; the step after which one process stops


def conv(cfg, facts): return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 1, 3, padding=1))
def normed(cfg, facts): return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.Dropout(.1), nn.Conv2d(8, 1, 3, padding=1))
class Tight(nn.Sequential):
    "A net for which the memory of the second rank is too small, if it is given more than two samples."
    def forward(self, x):
        if self.training and len(x) > 2 and dist.is_initialized() and dist.get_rank() == 1: raise torch.OutOfMemoryError('CUDA out of memory (played)')
        return super().forward(x)


def tight(cfg, facts): return Tight(*conv(cfg, facts))
def loss(cfg, model): return nn.functional.mse_loss
def adamw(cfg, model): return torch.optim.AdamW
def small(model): return System(Config, textures, model, loss, optimizer=adamw)

CASES = dict(
    conv=(small(conv), dict(phases=MIXED, precision='fp32', save_every=4, preview_every=10)),
    normed=(small(normed), dict(phases=MIXED, workers=1, save_every=4, preview_every=10)),
    memory=(small(tight), dict(phases=MIXED, precision='fp32', save_every=4, preview_every=10)),
    vsr=(vsr, dict(steps=8, batch_size=4, save_every=3, preview_every=4, previews=0, frames=3, precision='fp32')),
    vae=(video_vae, dict(size='tiny', phases=[PHASES[0] | dict(steps=14), PHASES[1] | dict(epochs=.2), PHASES[2] | dict(steps=5)], precision='fp32', rank=2, ema=.9, gan_weight=.1,
                         gan_start=6, perceptual_weight=.1, save_every=3, preview_every=9, log_every=5, valid_resolution=16, valid_frames=5)))


class Until(Callback):
    "Stops a fit after a step."
    def __init__(self, step: int): self.last = step
    def after_batch(self):
        if self.learn.last_micro and self.learn.planned.step + 1 == self.last: self.learn.control.stop = 'test'


def train(root: str, name: str, what: str, ranks=None) -> None:
    system, told = CASES[what]
    cfg = configure(system.config, dict(name=name, root=root, exact_world=EXACT[0]) | told)
    if ranks is None: system.train(cfg, [Until(UNTIL[0])])
    elif ranks.first: system.train(cfg, ranks=ranks); ranks.given(lambda: None)
    else:
        while (work := ranks.given()) is not None: system.attend(work, ranks)


def rank(number: int, world: int, meet: str, root: str, name: str, what: str) -> None:
    "In a forked process: one of the ranks."
    make = dist.init_process_group
    dist.init_process_group = lambda backend, **kw: make(backend, init_method=f'file://{meet}', rank=number, world_size=world, timeout=kw['timeout'])
    with joining(torch.device('cpu')) as ranks: train(root, name, what, ranks)


def forked(root: str, body, *args) -> int:
    pid = os.fork()
    if pid: return pid
    try:
        os.dup2(os.open(os.path.join(root, 'ranks.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1); os.dup2(1, 2)
        torch.set_num_threads(1); SIZES['tiny'] = 8, 1, 1
        body(*args)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc(); sys.stderr.flush(); os._exit(1)


class Company:
    "Ranks under way."
    def __init__(self, root: str, world: int, name: str, what: str):
        meet = tempfile.mktemp(dir=root)
        self.root, self.pids = root, {forked(root, rank, i, world, meet, root, name, what): i for i in range(world)}

    def poll(self) -> bool:
        "Whether all have finished; raises if one failed by itself."
        for pid in list(self.pids):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done: del self.pids[pid]
            if done and status:
                self.kill()
                if os.WIFSIGNALED(status): return True     # told to stop before or after its fit, where nothing listens
                raise SystemExit(f'a rank failed by itself:\n{Path(self.root, "ranks.log").read_text()[-6000:]}')
        return not self.pids

    def wait(self) -> None:
        while not self.poll(): time.sleep(.01)

    def kill(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.pids = {}


def newest(root: str, name: str) -> int: return max(Run(RunConfig(name=name, root=root)).checkpoints.steps(), default=0)
def finished(root: str, name: str) -> bool: return bool(Run(RunConfig(name=name, root=root)).finished)


def one(root: str, name: str, what: str) -> None:
    "One process, left alone."
    pid = forked(root, train, root, name, what)
    if os.waitpid(pid, 0)[1]: raise SystemExit(f'it failed by itself:\n{Path(root, "ranks.log").read_text()[-4000:]}')


def disturbed(root: str, name: str, what: str, world: int, rng: random.Random, most: int, number: int) -> tuple[int, int]:
    "Train to the end under signals at random instants to a random rank; how many there were, and after how many it went on from a checkpoint."
    sent = begun = 0
    while not finished(root, name):
        company, had = Company(root, world, name, what), newest(root, name)
        begun += had > 0
        while sent < most and newest(root, name) == had and not company.poll(): time.sleep(.005)
        time.sleep(rng.uniform(0, .3))
        if sent < most and not company.poll():
            sent += 1
            os.kill(rng.choice(list(company.pids)), number)
            if number == signal.SIGKILL: company.kill()
        company.wait()
    return sent, begun


def exact(root: str, what: str) -> dict:
    "On 1, 2 and 4 ranks, and on 1, 4 and 2 in turns: in how many of them something differs from one process."
    EXACT[0] = 4
    one(root, f'{what}_exact', what)
    whole, row = outcome(root, f'{what}_exact'), dict(what=what, exact=4)
    for world in (2, 4):
        Company(root, world, f'{what}_exact_{world}', what).wait()
        row[f'on_{world}_different'] = int(not same(outcome(root, f'{what}_exact_{world}'), whole))
    name, UNTIL[0] = f'{what}_exact_turns', 3
    one(root, name, what)
    UNTIL[0] = -1
    assert newest(root, name) == 3
    company = Company(root, 4, name, what)
    while newest(root, name) == 3 and not company.poll(): time.sleep(.005)
    company.kill()
    row['turned_at'] = [3, newest(root, name)]
    Company(root, 2, name, what).wait()
    return row | dict(turns_different=int(not same(outcome(root, name), whole)))


def apart(a: list, b: list) -> float:
    "The largest relative difference of the losses."
    return max(abs(x[1] - y[1])/abs(y[1]) for x, y in zip(a, b, strict=True) if not isinstance(x, dict))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--what', nargs='+', choices=list(CASES), default=list(CASES)); p.add_argument('--worlds', nargs='+', type=int, default=[2, 4])
    p.add_argument('--stops', type=int, default=2); p.add_argument('--kills', type=int, default=0); p.add_argument('--exact', action='store_true'); p.add_argument('--seed', type=int, default=0)
    opt = p.parse_args()
    rng, said = random.Random(opt.seed), []
    with tempfile.TemporaryDirectory() as root:
        for what in opt.what if opt.exact else ():
            said.append(exact(root, what))
            print(json.dumps(said[-1]), flush=True)
        for what in () if opt.exact else opt.what:
            one(root, f'{what}_1', what)
            alone = outcome(root, f'{what}_1')
            for world in opt.worlds:
                name = f'{what}_{world}'
                Company(root, world, name, what).wait()
                whole = outcome(root, name)
                row = dict(what=what, ranks=world, steps=len([x for x in whole[1] if not isinstance(x, dict)]), apart=apart(whole[1], alone[1]))
                for kind, most, number in (('stops', opt.stops, signal.SIGTERM), ('kills', opt.kills, signal.SIGKILL)):
                    count = runs = different = went_on = 0
                    while count < most:
                        sent, begun = disturbed(root, f'{name}_{kind}_{runs}', what, world, rng, min(3, most - count), number)
                        different += not same(outcome(root, f'{name}_{kind}_{runs}'), whole)
                        count, runs, went_on = count + sent, runs + 1, went_on + begun
                    if runs: row |= {kind: count, f'{kind}_different': different, f'{kind}_went_on': went_on}
                row['litter'] = [x for p in Path(root).iterdir() if p.is_dir() for x in litter(root, p.name)]
                print(json.dumps(row), flush=True)
                said.append(row)
    sys.exit(any(v for row in said for k, v in row.items() if k.endswith('different')) or any(row.get('litter') for row in said))


if __name__ == '__main__': main()
