"""The audio VAE on spoken digits (8 kHz, official split), 64x and 16 channels, beside the linear floors and diffusers' Oobleck.

    python tests/bench/bench_audio_vae.py --floors                    # the closed-form floors, nothing is trained
    python tests/bench/bench_audio_vae.py --minutes 10 --seed 0       # ours: CPU minutes of one thread, all included
    python tests/bench/bench_audio_vae.py --model oobleck --minutes 10                  # stable-audio-tools' losses
    python tests/bench/bench_audio_vae.py --model oobleck --minutes 10 --losses ours    # the same net, our losses
    python tests/bench/bench_audio_vae.py --steps 1000                # either model, equal steps
    python tests/bench/bench_audio_vae.py --nan-seeds 20              # short runs, a quarter of the recordings silent

SI-SDR (means not removed) and log-spectrum error are means over the 200 test files, each at a loudness of .05, reconstructed
from the latents' mean. Prints one line of JSON a run. Needs the media folder (TRAINLAB_DATA).
"""
import argparse, json, math, os, shutil, sys, tempfile, time, warnings
os.environ.setdefault('OMP_NUM_THREADS', '1')
from pathlib import Path
import numpy as np, soundfile, torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.media.samples import media_folder
from trainlab.nn.losses import spectral_loss
from trainlab.nn.metrics import log_spectrum_db, si_sdr
from trainlab.audio_vae.data import SoundSource, WholeSounds
from trainlab.audio_vae.model import AudioVAE
from trainlab.audio_vae.train import Config, floor, splits, system, train

VALID = '*_[0-4].wav'

@torch.no_grad()
def score(held, f):
    "Means over the test files of what `f` (1, 1, n) -> (1, 1, n) makes of them."
    sounds = WholeSounds(held, level=.05)
    rows = [(si_sdr(y := f(x[None])[0].float(), x).item(), log_spectrum_db(y, x).item()) for x, in map(sounds.item, range(len(sounds)))]
    return dict(zip(('si_sdr', 'log_spectrum_db'), np.round(np.mean(rows, 0), 3).tolist()))

def floors(train_set, held):
    "Linear codecs: blocks, and lapped transforms of several lengths; `one over energy` or equal loudness as weights."
    sounds = [x for x, in map(WholeSounds(train_set, 60., .05).item, range(len(train_set)))]
    out = {}
    for frame in (64, 128, 256):
        model = AudioVAE(8000, 1, frame, 1, frame//4, 8, 0, 0, level=.05).eval()
        model.fit_base(x[None] for x in sounds); out[f'lapped {frame}'] = score(held, lambda x: floor(model, x))
    blocks = torch.cat([F.pad(x[0], (0, -x.shape[1] % 64)).view(-1, 64) for x in sounds]).double()
    v = torch.linalg.eigh(blocks.T@blocks)[1][:, -16:].float()
    out['blocks 64'] = score(held, lambda x: (F.pad(x, (0, -x.shape[-1] % 64)).view(1, -1, 64)@v@v.T).reshape(1, 1, -1)[..., :x.shape[-1]])
    return out

def ours(a, root, data, steps=None, seed=0, name='run', **changes):
    "One run through the library; its CPU seconds, fit of the base, records, checkpoints and the last validation included."
    values = dict(root=root, name=name, data=str(data), valid=VALID, seed=seed, preview_every=0, save_every=0, log_every=50, device='cpu') | changes
    begun = time.process_time()
    if steps is None:
        probe = Run(configure(Config, values | dict(name='probe', steps=60, warmup=5)))
        with probe.open():
            learn = system.learner(probe.config, probe); before = time.process_time(); prepared = before - begun
            batches = list(zip(range(60), learn.loader.batches()))
            model, loss = learn.model.train(), learn.loss_func
            opt = learn.opt_func(list(model.parameters()))
            for i, (_, _, batch) in batches:
                if i == 10: timed = time.process_time()
                with torch.autocast('cpu', torch.bfloat16, enabled=probe.config.precision == 'bf16'): value = loss(model(*batch))
                value.backward(); nn.utils.clip_grad_norm_(model.parameters(), probe.config.clip); opt.step(); opt.zero_grad()
        each = (time.process_time() - timed)/50*1.14                     # the engine's records and averages
        steps = max(1, int((60*a.minutes - prepared - 6)/each))
        begun = time.process_time()
    run = train(configure(Config, values | dict(steps=steps)))
    return run, steps, time.process_time() - begun

def auraloss_mr_stft(y, x, sizes=(2048, 1024, 512, 256, 128, 64, 32), eps=1e-8):
    "auraloss' MultiResolutionSTFTLoss as stable-audio-tools sets it: spectral convergence and log-magnitude L1, hops of a quarter."
    terms = []
    for n in sizes:
        w = torch.hann_window(n)
        a, b = (torch.stft(v.flatten(0, 1), n, n//4, n, w, return_complex=True) for v in (y, x))
        a, b = (torch.sqrt(torch.clamp(s.real**2 + s.imag**2, min=eps)) for s in (a, b))
        terms.append((a - b).norm('fro')/b.norm('fro') + F.l1_loss(a.log(), b.log()))
    return sum(terms)/len(terms)

def oobleck(parameters):
    "diffusers' AutoencoderOobleck at 64x and 16 channels, with as many parameters as are asked for (5 %)."
    from diffusers import AutoencoderOobleck
    def make(c): return AutoencoderOobleck(32, [2, 4, 8], [1, 2, 4], c, 16, 1, 8000)
    count = lambda m: sum(p.numel() for p in m.parameters())
    best = min(range(8, 64), key=lambda c: abs(count(make(c)) - parameters))
    return make(best)

def baseline(a, train_set, held, parameters):
    "A plain loop as diffusers' examples have it, optimizer and loss weights as in stable-audio-tools."
    torch.manual_seed(a.seed); rng = np.random.default_rng(a.seed)
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); model = oobleck(parameters)
    source = SoundSource(train_set, 2048, .05)
    lr = a.lr or (1.5e-4 if a.losses == 'stable' else 1e-3)
    opt = torch.optim.AdamW(model.parameters(), lr, betas=(.8, .99), weight_decay=1e-3)
    start, step, nans = time.process_time(), 0, 0
    limit = (lambda: step/a.steps) if a.steps else (lambda: (time.process_time() - start)/60/a.minutes)
    while (done := limit()) < 1:
        for g in opt.param_groups: g['lr'] = lr*min(1, (step + 1)/50)*(.01 + .99*.5*(1 + math.cos(math.pi*done)))
        x = torch.stack([source.item(int(rng.integers(len(source))), rng)[0] for _ in range(16)])
        posterior = model.encode(x).latent_dist
        y = model.decode(posterior.sample()).sample
        if a.losses == 'stable': loss = auraloss_mr_stft(y, x) + 1e-4*posterior.kl()
        else: loss = (y - x).square().mean()/.05**2 + .02*spectral_loss(y, x) + 1e-6*posterior.kl()/16
        if not loss.isfinite(): nans += 1
        opt.zero_grad(); loss.backward(); opt.step(); step += 1
        if step % 200 == 0: print(f'step {step} loss {loss.item():.3f} {time.process_time() - start:.0f} s', file=sys.stderr, flush=True)
    seconds = time.process_time() - start
    model.eval()
    def f(x): return model.decode(model.encode(F.pad(x, (0, -x.shape[-1] % 64))).latent_dist.mean).sample[..., :x.shape[-1]]
    return dict(model='oobleck', losses=a.losses, parameters=sum(p.numel() for p in model.parameters()), seed=a.seed, steps=step, cpu_minutes=round(seconds/60, 2), not_finite=nans, **score(held, f))

def nan_seeds(a, data):
    "Short runs on digits, every fourth recording silent; counts those with a loss or weight that is not finite."
    bad, rows = 0, []
    with tempfile.TemporaryDirectory() as root:
        for i, f in enumerate(sorted(data.glob('*.wav'))[::8]):
            if i % 4: (Path(root)/'data').mkdir(exist_ok=True); shutil.copy(f, Path(root)/'data'/f.name)
            else: (Path(root)/'data').mkdir(exist_ok=True); soundfile.write(Path(root)/'data'/f.name, np.zeros(soundfile.info(f).frames), 8000)
        for seed in range(a.nan_seeds):
            run, steps, _ = ours(a, root, Path(root)/'data', a.steps or 60, seed, f'seed_{seed}', valid='', warmup=5)
            losses, weights = run.records('train'), load_file(run.path/'model'/'model.safetensors').values()
            fine = bool(np.isfinite(losses[['loss', 'reconstruction', 'spectral', 'kl', 'grad_norm']]).all().all()) and all(v.isfinite().all() for v in weights)
            bad += not fine; rows.append(run.scores().si_sdr.item())
    return dict(nan_seeds=a.nan_seeds, not_finite=bad, steps=steps, si_sdr=np.round(rows, 2).tolist())

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--model', default='ours', choices=['ours', 'oobleck'])
    p.add_argument('--losses', default='stable', choices=['stable', 'ours'], help='of the baseline')
    p.add_argument('--minutes', type=float, default=10); p.add_argument('--steps', type=int, default=0); p.add_argument('--seed', type=int, default=0)
    p.add_argument('--lr', type=float, default=0.); p.add_argument('--width', type=int, default=0); p.add_argument('--spectral-weight', type=float, default=-1.)
    p.add_argument('--optimizer', default='muon', choices=['muon', 'adamw'], help='of ours')
    p.add_argument('--floors', action='store_true'); p.add_argument('--nan-seeds', type=int, default=0)
    a = p.parse_args()
    torch.set_num_threads(1)
    media = media_folder()
    if not media or not (media/'audio'/'digits').exists(): raise SystemExit('No spoken digits here. Set TRAINLAB_DATA.')
    data = media/'audio'/'digits'
    if a.nan_seeds: print(json.dumps(nan_seeds(a, data))); return
    cfg = configure(Config, dict(data=str(data), valid=VALID))
    train_set, held = splits(cfg, system.files(cfg))
    if a.floors: print(json.dumps(floors(train_set, held))); return
    parameters = sum(q.numel() for q in system.model(Config(width=a.width), dict(sample_rate=8000)).parameters())
    if a.model == 'oobleck': print(json.dumps(baseline(a, train_set, held, parameters))); return
    changes = dict(optimizer=a.optimizer) | (dict(lr=a.lr) if a.lr else {})
    if a.width: changes['width'] = a.width
    if a.spectral_weight >= 0: changes['spectral_weight'] = a.spectral_weight
    with tempfile.TemporaryDirectory() as root:
        run, steps, seconds = ours(a, root, data, a.steps or None, a.seed, **changes)
        s = run.scores().iloc[0]
        print(json.dumps(dict(model='ours', parameters=parameters, seed=a.seed, steps=steps, cpu_minutes=round(seconds/60, 2), **{k: round(float(v), 4) for k, v in s.items()})))

if __name__ == '__main__': main()
