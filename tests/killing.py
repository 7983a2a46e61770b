"""Kill training at random instants and compare what comes out with a run that was left alone.

    python tests/killing.py --kills 200 --during-save 50
    python tests/killing.py --what vae --kills 100 --during-save 20
    python tests/killing.py --what chapters --kills 100 --during-save 20
    python tests/killing.py --what chapters --kills 0 --during-save 0 --operations 100

`--operations` kills just before the n-th time that a file of the runs is opened, made, renamed or removed.

`formats` is a small net on two formats; `vae` is a video VAE over phases that end by a plateau, by epochs and by steps,
with other sizes, lengths and accumulation in each, from an adapter to the whole model, and a PatchGAN from step 11 on;
`chapters` is a run that ends, goes on with other phases, rates and batches, and is forked in the middle of that.

Attempts are forked from a process that has imported everything and run nothing, so each one starts in milliseconds;
SIGKILL ends them. Every finished run must equal the uninterrupted one bit for bit: losses and rates of all steps,
weights, optimizer, averaged weights.
"""
import argparse, itertools, json, os, random, re, signal, sys, tempfile, time
from functools import lru_cache
from pathlib import Path
import numpy as np, torch
from torch import nn
from trainlab.engine.learner import SeekableLearner
from trainlab.engine.phases import PhaseConfig, TrainConfig
from trainlab.run import checkpoint
from trainlab.run.checkpoint import read_checkpoint
from trainlab.run.config import RunConfig, configure, setting
from trainlab.run.folder import Run
from trainlab.system import Data, System
from trainlab.video_vae.model import SIZES
from trainlab.video_vae.train import system as video_vae

STEPS = 80
PHASES = [dict(name='adapter', mode='lora', transition='loss_plateau', steps=40, window=4, patience=1, threshold=.5, resolution=16, min_frames=1, max_frames=5, batch_size=4, lr=1e-3, warmup=3),
          dict(name='all', transition='epoch', epochs=.4, resolution=24, frames=5, batch_size=2, gradient_accumulation=2, lr=5e-4),
          dict(name='large', steps=12, resolution=32, frames=9, batch_size=2, gradient_accumulation=3, lr=2e-4, loss_weights=dict(kl=1e-4))]


class Textures:
    "Noise to be smoothed: a random crop, flipped at random."
    def __init__(self, n: int, size: int): self.n, self.size = n, size
    def __len__(self): return self.n
    def item(self, index, rng):
        x = np.sin(np.arange(self.size)[:, None]*(index + 1)/7) + rng.normal(size=(self.size, self.size))
        x = torch.from_numpy(np.ascontiguousarray(x[:, ::rng.choice([-1, 1])])).float()[None]
        return x, nn.functional.avg_pool2d(x, 3, 1, 1)


def begun(root: str, name: str) -> None:
    with open(os.path.join(root, 'begun.log'), 'a') as f: f.write(f'{newest(root, name)}\n')


def train(root: str, name: str, what: str, *kind) -> Run:
    torch.set_num_threads(1)
    return dict(formats=train_formats, vae=train_vae, chapters=train_chapters)[what](root, name, *kind)


def train_vae(root: str, name: str, workers: int, accumulation: int, precision: str) -> Run:
    "A video VAE from an adapter to the whole model."
    SIZES['tiny'] = 8, 1, 1
    begun(root, name)
    phases = [PHASES[0] | dict(gradient_accumulation=accumulation), *PHASES[1:]]
    return video_vae.train(configure(video_vae.config, dict(name=name, root=root, size='tiny', phases=phases, workers=workers, precision=precision, rank=2, ema=.9,
        gan_weight=.1, gan_start=11, perceptual_weight=.1, save_every=3, preview_every=25, log_every=5, valid_resolution=16, valid_frames=5)))


class Mixed(PhaseConfig):
    "Formats by their share."
    share: dict[str, float] = setting({}, 'relative')
    def shares(self, sizes): return self.share


class Config(TrainConfig, defaults=dict(save_every=4, preview_every=30, log_every=5, ema=.95)):
    phase = Mixed


def smoother(cfg, facts): return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.Dropout(.1), nn.Conv2d(8, 1, 3, padding=1))
def textures(cfg, files): sources = dict(small=Textures(21, 8), large=Textures(10, 12)); return Data(sources, sources['large'], dict(frames_used=31))
def loss(cfg, model): return nn.functional.mse_loss
formats = System(Config, textures, smoother, loss, optimizer=lambda cfg, model: torch.optim.AdamW)


def train_formats(root: str, name: str, workers: int, accumulation: int, precision: str) -> Run:
    "One run on two formats, with everything that usually breaks a resume."
    phases = [dict(name='mixed', steps=50, share=dict(small=.6, large=.4), batch_size=dict(small=4, large=2), gradient_accumulation=dict(small=accumulation), lr=1e-2, warmup=5),
              dict(name='large', steps=STEPS - 50, share=dict(large=1.), batch_size=3, gradient_accumulation=accumulation, lr=1e-3)]
    begun(root, name)
    return formats.train(configure(Config, dict(name=name, root=root, phases=phases, workers=workers, precision=precision)))


def train_chapters(root: str, name: str, workers: int, accumulation: int, precision: str) -> Run:
    "A run that ends, goes on with other phases, rates and batches, and is forked at a step of that."
    begun(root, name)
    mixed = dict(name='mixed', steps=30, share=dict(small=.6, large=.4), batch_size=dict(small=4, large=2), gradient_accumulation=dict(small=accumulation), lr=1e-2, warmup=5)
    more = [mixed | dict(steps=45, lr=3e-3, batch_size=dict(small=2, large=3)), dict(name='large', transition='epoch', epochs=3., share=dict(large=1.), batch_size=3)]
    told = lambda **kw: configure(Config, dict(root=root, workers=workers, precision=precision, anchor_every=20, keep=2) | kw)
    trunk = told(name=f'{name}_trunk', phases=[mixed])
    if len(Run(trunk).chapters) < 2: formats.train(trunk)
    formats.train(told(name=trunk.name, phases=more, ema=.8, amend=True))
    return formats.train(told(name=name, fork_from=f'{root}/{trunk.name}@40', phases=[more[0], more[1] | dict(epochs=4., lr=1e-4)], ema=.8))


TOUCHES = ('open', 'os.rename', 'os.mkdir', 'os.rmdir', 'os.remove', 'os.truncate', 'shutil.copyfile')


def count_down(root: str, left: int) -> None:
    "Be killed just before the files under `root` are touched for the `left`-th time; with 0, write down how often they were."
    touched = 0
    def hook(event, args):
        nonlocal touched
        if event not in TOUCHES or not str(args[0]).startswith(root): return
        touched += 1
        if touched == left: os.kill(os.getpid(), signal.SIGKILL)
        if not left: os.write(2, f'touched {touched}\n'.encode())     # by any thread, in one piece
    sys.addaudithook(hook)


def attempt(args: tuple, pipe: int | None = None, operation: int | None = None) -> int:
    "Fork a process that trains; its number. With a pipe, it says when a file of a checkpoint is about to be written."
    pid = os.fork()
    if pid: return pid
    try:
        os.dup2(os.open(os.path.join(args[0], 'attempts.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2); os.dup2(2, 1)
        if pipe is not None:
            real = checkpoint._write
            def told(path, content): os.write(pipe, b'.'); return real(path, content)
            checkpoint._write = told
        if operation is not None: count_down(args[0] + os.sep, operation)
        train(*args)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc(); os._exit(1)


def ended(pid: int, root: str) -> bool:
    "Whether it has finished; raises if it failed by itself."
    done, status = os.waitpid(pid, os.WNOHANG)
    if done and status: raise SystemExit(f'an attempt failed by itself:\n{open(os.path.join(root, "attempts.log")).read()[-3000:]}')
    return bool(done)


def kill(pid: int) -> None: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)


def outcome(root: str, name: str) -> tuple[dict, list]:
    "All tensors of the last checkpoint, and loss, rate and bucket of every step."
    run = Run(RunConfig(name=name, root=root))
    tensors, texts = read_checkpoint(run.checkpoints.newest())
    assert run.info['finished'] and json.loads(texts['state.json'])['step'] == max(run.checkpoints.steps())
    rows = [json.loads(line) for line in (run.path/'metrics.jsonl').read_text().splitlines()]
    return tensors, [(r['step'], r['loss'], r['grad_norm'], r['lr'], r['bucket']) for r in rows if r['kind'] == 'train'] + [r for r in rows if r['kind'] == 'valid']


def same(a: tuple, b: tuple) -> bool:
    return a[1] == b[1] and a[0].keys() == b[0].keys() and all(torch.equal(a[0][f][k], b[0][f][k]) for f in a[0] for k in a[0][f])


def bad(root: str) -> int:
    "Checkpoints that were set aside as damaged."
    return sum(len(files) for at, files, _ in os.walk(root) if os.path.basename(at) == 'bad')


def newest(root: str, name: str) -> int:
    "The step of the newest checkpoint; of a fork, steps of its trunk are counted in."
    return sum(max(Run(RunConfig(name=n, root=root)).checkpoints.steps(), default=0) for n in (name, f'{name}_trunk'))


def at_random(root: str, args: tuple, rng: random.Random, seconds: float, most: int) -> int:
    "Train to the end under kills at random instants, every other one after a new checkpoint; how many there were."
    kills = 0
    while True:
        began, wait = newest(root, args[0]), kills % 2 == 1
        pid, deadline = attempt((root, *args)), time.monotonic() + (rng.uniform(.02, .8*seconds) if kills < most else 1e9)
        while time.monotonic() < deadline or wait:
            if ended(pid, root): return kills
            if wait and newest(root, args[0]) > began: wait, deadline = False, time.monotonic() + rng.uniform(0, .3*seconds)
            time.sleep(.002)
        if ended(pid, root): return kills
        kill(pid); kills += 1


def during_saves(root: str, args: tuple, rng: random.Random, most: int) -> int:
    "Train to the end under kills while a checkpoint is being written; how many there were."
    kills = 0
    while True:
        out, into = os.pipe(); os.set_blocking(out, False)
        pid, wait = attempt((root, *args), into), rng.randrange(1, 25) if kills < most else 10**9
        try:
            while True:
                try: wait -= len(os.read(out, 1))
                except BlockingIOError: pass
                if wait <= 0: time.sleep(rng.uniform(0, .004)); break
                if ended(pid, root): return kills
            if ended(pid, root): return kills
            kill(pid); kills += 1
        finally: os.close(out); os.close(into)


def at_operations(root: str, args: tuple, rng: random.Random, touches: int, most: int) -> int:
    "Train to the end under kills at the n-th touch of a file; how many there were."
    for kills in itertools.count():
        pid = attempt((root, *args), operation=rng.randrange(1, touches) if kills < most else 10**9)
        _, status = os.waitpid(pid, 0)
        if not status: return kills
        if not os.WIFSIGNALED(status): raise SystemExit(f'an attempt failed by itself:\n{open(os.path.join(root, "attempts.log")).read()[-3000:]}')


@lru_cache
def touches(root: str, kind: tuple) -> int:
    "How often a run touches its files, when it is left alone."
    log = os.path.join(root, 'attempts.log')
    before = os.path.getsize(log)
    os.waitpid(attempt((root, f'counted_{kind}', *kind), operation=0), 0)
    with open(log) as f:
        f.seek(before)
        return max(map(int, re.findall(r'touched (\d+)\b', f.read())))


def litter(root: str, name: str) -> list[str]:
    "What kills left behind in finished runs."
    found = [p for n in (name, f'{name}_trunk') for pattern in ('**/.saving*', '**/.model_*', '**/.step_*', '**/.run.json.*', '**/.config.yaml.*') for p in Path(root, n).glob(pattern)]
    return [str(p) for p in found]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--what', choices=('formats', 'vae', 'chapters'), default='formats')
    p.add_argument('--kills', type=int, default=20); p.add_argument('--during-save', type=int, default=5); p.add_argument('--operations', type=int, default=0); p.add_argument('--seed', type=int, default=0)
    opt = p.parse_args()
    rng, kinds = random.Random(opt.seed), list(itertools.product((opt.what,), (0, 2), (1, 2), ('fp32', 'bf16')))
    with tempfile.TemporaryDirectory() as root:
        def alone(kind):
            began = time.monotonic(); pid = attempt((root, f'alone_{kind}', *kind))
            while not ended(pid, root): time.sleep(.005)
            return time.monotonic() - began
        rng.shuffle(kinds)
        count, saves, touched, runs, wrong, left, seconds = 0, 0, 0, 0, 0, [], {}
        for n in itertools.count():
            kind = kinds[n % len(kinds)]
            if count >= opt.kills and saves >= opt.during_save and touched >= opt.operations: break
            if kind not in seconds: seconds[kind] = alone(kind)
            name = f'run_{n}'
            if count < opt.kills: count += at_random(root, (name, *kind), rng, seconds[kind], -(-opt.kills//len(kinds)))
            elif touched < opt.operations: touched += at_operations(root, (name, *kind), rng, touches(root, kind), -(-opt.operations//len(kinds)))
            else: saves += during_saves(root, (name, *kind), rng, -(-opt.during_save//4))
            runs += 1; left += litter(root, name); wrong += not same(outcome(root, name), outcome(root, f'alone_{kind}'))
        damaged, begun = bad(root), [int(x) for x in open(os.path.join(root, 'begun.log'))]
    print(json.dumps(dict(kills=count, kills_during_save=saves, kills_at_operations=touched, litter=left, runs=runs, kinds=len(seconds), different=wrong, damaged=damaged, continued=sum(b > 0 for b in begun))))
    sys.exit(bool(wrong or damaged or left))


if __name__ == '__main__': main()
