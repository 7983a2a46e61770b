"""What a step costs beside its arithmetic: trainlab with records, checkpoints and progress on, and the loops of others.

    python tests/bench/bench_overhead.py
    pip install accelerate lightning     # for all rows

Each loop trains the same small net, in turns, in one process: AdamW, a rate that falls, gradients clipped, batches of
four from memory. The net notes the time whenever it is called in training; a step is the mean distance of two calls,
saves and records included, the first fifty left out. Printed are medians of the rounds, and what each adds to the bare
loop. The others neither write records nor save; trainlab does, every 10 and every 100 steps.
"""
import argparse, contextlib, io, logging, statistics, tempfile, time, warnings
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from trainlab.engine.phases import TrainConfig
from trainlab.run.config import configure
from trainlab.system import Data, System

WARM, STEPS, BATCH, ITEMS = 50, 450, 4, 360
X = torch.randn(ITEMS, 1, 16, 16, generator=torch.Generator().manual_seed(0))
Y = X.square()
CALLS = []


class Net(nn.Sequential):
    "A small net that notes when it is called."
    def __init__(self): super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 1, 3, padding=1))
    def forward(self, x):
        if self.training: CALLS.append(time.perf_counter())
        return super().forward(x)


def loader(): return DataLoader(TensorDataset(X, Y), BATCH, shuffle=True)
def adamw(net): return torch.optim.AdamW(net.parameters(), lr=1e-3)
def falling(opt): return torch.optim.lr_scheduler.CosineAnnealingLR(opt, STEPS)
def epochs(): return -(-STEPS//(ITEMS//BATCH))


def bare() -> None:
    net = Net()
    opt = adamw(net)
    schedule = falling(opt)
    for _ in range(epochs()):
        for x, y in loader():
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.)
            opt.step(); schedule.step(); opt.zero_grad()


def accelerate() -> None:
    from accelerate import Accelerator
    accelerator, net = Accelerator(cpu=True), Net()
    opt = adamw(net)
    net, opt, batches, schedule = accelerator.prepare(net, opt, loader(), falling(opt))
    for _ in range(epochs()):
        for x, y in batches:
            with accelerator.accumulate(net):
                loss = nn.functional.mse_loss(net(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients: accelerator.clip_grad_norm_(net.parameters(), 1.)
                opt.step(); schedule.step(); opt.zero_grad()


def lightning() -> None:
    import lightning as L
    class Module(L.LightningModule):
        def __init__(self): super().__init__(); self.net = Net()
        def training_step(self, batch, i): return nn.functional.mse_loss(self.net(batch[0]), batch[1])
        def configure_optimizers(self):
            opt = adamw(self.net)
            return dict(optimizer=opt, lr_scheduler=dict(scheduler=falling(opt), interval='step'))
    L.Trainer(max_steps=STEPS, accelerator='cpu', logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.).fit(Module(), loader())


def fastai() -> None:
    from fastai.callback.schedule import ParamScheduler, SchedCos
    from fastai.callback.training import GradientClip
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader as Batches
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper
    data = [*zip(X, Y)]
    learn = Learner(DataLoaders(Batches(data, BATCH, shuffle=True), Batches(data[:BATCH], BATCH)), Net(), nn.functional.mse_loss, opt_func=lambda params, lr: OptimWrapper(params, torch.optim.AdamW, lr=lr), cbs=[GradientClip(1.)])
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs(), 1e-3, cbs=[ParamScheduler(dict(lr=SchedCos(1e-3, 0.)))])


class Items:
    "The same pairs."
    names = [str(i) for i in range(ITEMS)]
    def __len__(self): return ITEMS
    def item(self, index, rng): return X[index], Y[index]


class Config(TrainConfig, defaults=dict(name='overhead', precision='fp32', batch_size=BATCH, steps=STEPS, lr=1e-3, save_every=100, preview_every=0, ema=0., warmup=0)): pass
def data(cfg, files): return Data(Items(), [], {})
def net(cfg, facts): return Net()
def loss(cfg, model): return nn.functional.mse_loss


system = System(Config, data, net, loss)


def trainlab() -> None:
    with tempfile.TemporaryDirectory() as root: system.train(configure(Config, dict(root=root, device='cpu')))


def timed(loop) -> float: # microseconds a step
    CALLS.clear()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): loop()
    return 1e6*(CALLS[STEPS - 1] - CALLS[WARM])/(STEPS - 1 - WARM)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=7)
    opt = p.parse_args()
    torch.set_num_threads(1); warnings.simplefilter('ignore'); logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)
    loops, times = [bare, trainlab, accelerate, lightning, fastai], {}
    for n in range(opt.rounds + 1):
        for loop in loops[::1 if n % 2 else -1]:
            try: took = timed(loop)
            except ImportError as e: times[loop.__name__] = str(e); continue
            if n: times.setdefault(loop.__name__, []).append(took)
    base = statistics.median(times['bare'])
    for loop in loops:
        found = times[loop.__name__]
        if isinstance(found, str): print(f'{loop.__name__:>11}  not installed: {found}')
        else: print(f'{loop.__name__:>11}  {statistics.median(found):6.0f} us a step, {statistics.median(found) - base:+6.0f} us')


if __name__ == '__main__': main()
