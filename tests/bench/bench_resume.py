"""Who resumes exactly? The same small training, stopped after 29 of 72 steps and taken up again by each trainer's own means.

    python tests/bench/bench_resume.py

Data are drawn with augmentation by 0 or 2 workers, the net has dropout and batch norm. Counted are the steps after the
stop, 43 of them, whose loss differs from those of the run that was left alone. Peers that are not installed are left out:
`pip install lightning` (accelerate comes with peft). Each one is used as its documentation says: Lightning with `ckpt_path`,
accelerate with `save_state`, `load_state` and `skip_first_batches`, plain PyTorch with everything that people save by hand.
"""
import contextlib, importlib.util, io, random, tempfile, warnings
from pathlib import Path
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from trainlab.run.config import configure
from trainlab.system import Data, System
from trainlab.engine.phases import TrainConfig

ITEMS, BATCH, STEPS, STOP = 48, 4, 72, 29


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(.2), nn.Linear(16, 1))


def base(index: int) -> torch.Tensor: return torch.sin(torch.arange(8)*(index + 1)/7)


class Augmented(Dataset):
    "Waves with noise from the worker's own generator, as augmentation libraries draw it."
    def __len__(self): return ITEMS
    def __getitem__(self, index): x = base(index); return x + .1*torch.randn(8), x.sum()[None]


class Keyed:
    "The same, drawn from the generator that trainlab hands to an item."
    def __len__(self): return ITEMS
    def item(self, index, rng): x = base(index); return x + .1*torch.from_numpy((rng or np.random.default_rng(index)).normal(size=8)).float(), x.sum()[None]


def seeded() -> None: torch.manual_seed(1); np.random.seed(1); random.seed(1)


def by_trainlab(folder: Path, workers: int, stop: int | None) -> list[float]:
    from fastai.callback.core import Callback
    class StopAt(Callback):
        def after_step(self):
            if self.learn.planned.step + 1 == stop: self.learn.control.stop = 'bench'
    toy = System(TrainConfig, lambda cfg, files: Data(Keyed(), Keyed()), lambda cfg, facts: net(), lambda cfg, model: nn.functional.mse_loss)
    cfg = configure(TrainConfig, dict(name='toy', root=str(folder), steps=STEPS, batch_size=BATCH, workers=workers, lr=1e-2, ema=0., preview_every=0, precision='fp32', log_every=100))
    with contextlib.redirect_stdout(io.StringIO()): return toy.train(cfg, [StopAt()]).records('train').loss.tolist()


def by_lightning(folder: Path, workers: int, stop: int | None) -> list[float]:
    import lightning as L
    losses = []
    class Toy(L.LightningModule):
        def __init__(self): super().__init__(); self.net = net()
        def training_step(self, batch, i): loss = nn.functional.mse_loss(self.net(batch[0]), batch[1]); losses.append(loss.item()); return loss
        def configure_optimizers(self): return torch.optim.AdamW(self.parameters(), 1e-2)
    seeded()
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator='cpu')
    last = folder/'stopped.ckpt'
    trainer = L.Trainer(max_steps=stop or STEPS, default_root_dir=folder, enable_checkpointing=False, **quiet)
    trainer.fit(Toy(), DataLoader(Augmented(), BATCH, shuffle=True, num_workers=workers), ckpt_path=last if last.exists() else None)
    if stop: trainer.save_checkpoint(last)
    return losses


def by_accelerate(folder: Path, workers: int, stop: int | None) -> list[float]:
    from accelerate import Accelerator
    seeded()
    accelerator, losses = Accelerator(cpu=True), []
    model = net()
    model, opt, loader = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), 1e-2), DataLoader(Augmented(), BATCH, shuffle=True, num_workers=workers))
    epochs, begun = STEPS*BATCH//ITEMS, 0
    if (folder/'state').exists(): accelerator.load_state(folder/'state'); begun = STOP
    for epoch in range(begun*BATCH//ITEMS, epochs):
        skipped = begun % (ITEMS//BATCH) if epoch == begun*BATCH//ITEMS else 0
        for x, y in accelerator.skip_first_batches(loader, skipped) if skipped else loader:
            loss = nn.functional.mse_loss(model(x), y)
            accelerator.backward(loss); opt.step(); opt.zero_grad(); losses.append(loss.item())
            if stop and len(losses) == stop: accelerator.save_state(folder/'state'); return losses
    return losses


def by_hand(folder: Path, workers: int, stop: int | None) -> list[float]:
    "PyTorch, with weights, optimizer and all of the main process's generators saved; batches before the stop are skipped."
    seeded()
    model, losses, begun = net(), [], 0
    opt, kept = torch.optim.AdamW(model.parameters(), 1e-2), folder/'kept.pt'
    state = torch.load(kept, weights_only=False) if kept.exists() else None
    if state:
        model.load_state_dict(state['model']); opt.load_state_dict(state['opt']); begun = STOP
        torch.set_rng_state(state['epoch_rng'])
    for epoch in range(begun*BATCH//ITEMS, STEPS*BATCH//ITEMS):
        epoch_rng = torch.get_rng_state()
        batches = iter(DataLoader(Augmented(), BATCH, shuffle=True, num_workers=workers))
        if state:
            for _ in range(begun % (ITEMS//BATCH)): next(batches)
            torch.set_rng_state(state['rng']); np.random.set_state(state['np']); random.setstate(state['py']); state = None
        for x, y in batches:
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward(); opt.step(); opt.zero_grad(); losses.append(loss.item())
            if stop and len(losses) == stop:
                torch.save(dict(model=model.state_dict(), opt=opt.state_dict(), rng=torch.get_rng_state(), epoch_rng=epoch_rng, np=np.random.get_state(), py=random.getstate()), kept)
                return losses
    return losses


def wrong(train, workers: int) -> int:
    "Losses after the stop that differ from the uninterrupted run's."
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        whole, first = train(Path(a), workers, None), train(Path(b), workers, STOP)
        then = train(Path(b), workers, None)
    assert len(whole) == STEPS and whole[:STOP] == first[:STOP]
    return sum(x != y for x, y in zip(whole[STOP:], then[-(STEPS - STOP):]))


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    import logging; logging.disable(logging.WARNING)
    arms = dict(trainlab=by_trainlab, lightning=by_lightning, accelerate=by_accelerate, torch=by_hand)
    print(f'{"":22}0 workers   2 workers   (losses that differ, of {STEPS - STOP})')
    for name, train in arms.items():
        if name not in ('trainlab', 'torch') and not importlib.util.find_spec(name): print(f'{name:22}not installed'); continue
        version = f' {importlib.metadata.version(name)}' if name != 'trainlab' else ''
        print(f'{name + version:22}{wrong(train, 0):9}{wrong(train, 2):12}')


if __name__ == '__main__': main()
