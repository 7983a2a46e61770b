"""The audio VAE on people and sounds that it never heard (8 kHz, 64x, 16 channels), beside its floor and diffusers' Oobleck.

    python tests/bench/bench_audio_vae.py --floors                    # closed-form linear codecs, nothing is trained
    python tests/bench/bench_audio_vae.py --minutes 10 --seed 0       # ours: CPU minutes of one thread, all included
    python tests/bench/bench_audio_vae.py --plain                     # ours without changed segments, unchecked, as it was
    python tests/bench/bench_audio_vae.py --model oobleck --minutes 10                  # stable-audio-tools' losses
    python tests/bench/bench_audio_vae.py --model oobleck --minutes 10 --losses ours    # the same net, our losses
    python tests/bench/bench_audio_vae.py --steps 1000                # either model, equal steps
    python tests/bench/bench_audio_vae.py --nan-seeds 20              # short runs, a quarter of the recordings silent

Three parts were fixed by name before any of them was scored: no person and no recording is in two, nor are two recordings of
one instrument, and each kind of content is in all (`PEOPLE`, `SOUNDS`; of nature, training has what a film's sound holds).
What is chosen is chosen on `dev`. `--final` trains on `train` and `dev` and scores `final`: **once for each arm of a table, when
all else is decided**. SI-SDR (means not removed) and log-spectrum error of each file (its first 4 s at a loudness of .05,
from the latents' mean), then means over the files of a kind. `below`: files more than .1 dB below the floor. The floor is
the linear codec that was fitted on the same sounds. Prints one line of JSON a run. Needs the media folder (TRAINLAB_DATA).
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
from trainlab.audio_vae.train import Config, floor, load_model, splits, system, train

PEOPLE = dict(train=('george', 'jackson'), dev=('nicolas',), final=('theo',))   # of the spoken digits
SOUNDS = dict(
    train=dict(instruments=('cello-double', 'cello-phrase', 'flute-A4', 'organ-C3'), orchestra=('orchestra', 'bbb_film_0_30'),
               percussion=('bendir',), voices=('speech-female', 'singing-female', 'soprano-E4'), nature=(),
               tones=('sawtooth-440', 'sine-440-490')),
    dev=dict(instruments=('oboe-A4', 'sax-phrase-short'), orchestra=('carnatic',), percussion=('mridangam',),
             voices=('vignesh',), nature=('ocean',), tones=('chirp-150-190-linear',)),
    final=dict(instruments=('piano', 'trumpet-A4', 'violin-B3'), orchestra=('music_24k', 'stereo_48k'),
               percussion=('vibraphone-C6',), voices=('speech-male',), nature=('rain',), tones=('sine-1000', 'impulse-response')))
MUSIC = 'instruments', 'orchestra', 'percussion'

def lay_out(media, home, final):
    "A folder to train on, `heard`, and beside it what is judged by, `unheard`, each by kind; what the second is called."
    part, heard = ('final', ('train', 'dev')) if final else ('dev', ('train',))
    found = {p.stem: p for folder in ('audio', 'audio/sounds', 'video') for p in (media/folder).iterdir() if p.is_file()}
    def put(where, names):
        for side, kind, p in ((where, k, p) for k, paths in names.items() for p in paths):
            target = home/side/kind/p.name; target.parent.mkdir(parents=True, exist_ok=True); shutil.copy(p, target)
    for where, parts in (('heard', heard), ('unheard', (part,))):
        for q in parts:
            put(where, {k: [found[n] for n in names] for k, names in SOUNDS[q].items()})
            put(where, dict(people=[f for who in PEOPLE[q] for f in sorted((media/'audio'/'digits').glob(f'*_{who}_*.wav'))]))
    return home

@torch.no_grad()
def score(held, f, base):
    "What `f` (1, 1, n) -> (1, 1, n) makes of what was held out, beside the floor of `base`: by kind, and all that is below."
    sounds, rows = WholeSounds(held, level=.05), []
    for i, r in enumerate(held):
        x = sounds.item(i)[0]; y, low = f(x[None])[0].float(), floor(base, x[None])[0]
        rows.append((r.name.split('/')[-2], r.name.split('/')[-1], si_sdr(y, x).item(), si_sdr(low, x).item(), log_spectrum_db(y, x).item(), log_spectrum_db(low, x).item()))
    kinds = {k: [r for r in rows if r[0] == k] for k in dict.fromkeys(r[0] for r in rows)}
    kinds |= dict(music=[r for r in rows if r[0] in MUSIC], sounds=[r for r in rows if r[0] != 'people'], all=rows)
    def told(rows):
        y, low, spectrum, spectrum_low = np.array([r[2:] for r in rows]).T
        return dict(files=len(rows), si_sdr=y.mean(), floor=low.mean(), over=(y - low).mean(), worst=(y - low).min(), below=int((y - low < -.1).sum()),
                    log_spectrum_db=spectrum.mean(), log_spectrum_floor=spectrum_low.mean())
    said = {k: {n: round(float(v), 2) for n, v in told(r).items()} for k, r in kinds.items()}
    return said | dict(each={r[1]: [round(r[2], 2), round(r[3], 2), round(r[4], 2), round(r[5], 2)] for r in rows if r[0] != 'people'})

def fitted(train_set, **changes):
    "An untrained model: its linear codec."
    model = AudioVAE(8000, 1, **dict(frame=64, stack=1, latent_channels=16, width=8, encoder_blocks=0, decoder_blocks=0, level=.05) | changes).eval()
    sounds = WholeSounds(train_set, 60., .05)
    model.fit_base(x[None] for x, in map(sounds.item, range(len(sounds))))
    return model

def floors(train_set, held):
    "Linear codecs: blocks, and lapped transforms of several lengths; `one over energy` or equal loudness as weights."
    sounds = [x for x, in map(WholeSounds(train_set, 60., .05).item, range(len(train_set)))]
    out, base = {}, fitted(train_set)
    for frame in (64, 128, 256):
        model = fitted(train_set, frame=frame, latent_channels=frame//4); out[f'lapped {frame}'] = score(held, lambda x: floor(model, x), base)
    blocks = torch.cat([F.pad(x[0], (0, -x.shape[1] % 64)).view(-1, 64) for x in sounds]).double()
    v = torch.linalg.eigh(blocks.T@blocks)[1][:, -16:].float()
    out['blocks 64'] = score(held, lambda x: (F.pad(x, (0, -x.shape[-1] % 64)).view(1, -1, 64)@v@v.T).reshape(1, 1, -1)[..., :x.shape[-1]], base)
    return out

def ours(a, root, data, steps=None, seed=0, name='run', **changes):
    "One run through the library; its CPU seconds, fit of the base, records, checkpoints and the last validation included."
    values = dict(root=root, name=name, data=str(data), valid=['unheard/*'], sample_rate=8000, seed=seed, preview_every=0, save_every=0, log_every=50, device='cpu') | changes
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
    source = SoundSource(train_set, 2048, .05, 0. if a.plain else 1.)
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
        else: loss = (y - x).square().mean()/.05**2 + configure(Config, {}).spectral_weight*spectral_loss(y, x) + 1e-6*posterior.kl()/16
        if not loss.isfinite(): nans += 1
        opt.zero_grad(); loss.backward(); opt.step(); step += 1
        if step % 200 == 0: print(f'step {step} loss {loss.item():.3f} {time.process_time() - start:.0f} s', file=sys.stderr, flush=True)
    seconds = time.process_time() - start
    model.eval()
    def f(x): return model.decode(model.encode(F.pad(x, (0, -x.shape[-1] % 64))).latent_dist.mean).sample[..., :x.shape[-1]]
    return dict(model='oobleck', losses=a.losses, parameters=sum(p.numel() for p in model.parameters()), seed=a.seed, steps=step, cpu_minutes=round(seconds/60, 2), not_finite=nans, **score(held, f, fitted(train_set)))

def nan_seeds(a, data):
    "Short runs on digits, every fourth recording silent; counts those with a loss or weight that is not finite."
    bad, rows = 0, []
    with tempfile.TemporaryDirectory() as root:
        for i, f in enumerate(sorted(data.glob('*.wav'))[::8]):
            if i % 4: (Path(root)/'data').mkdir(exist_ok=True); shutil.copy(f, Path(root)/'data'/f.name)
            else: (Path(root)/'data').mkdir(exist_ok=True); soundfile.write(Path(root)/'data'/f.name, np.zeros(soundfile.info(f).frames), 8000)
        for seed in range(a.nan_seeds):
            run, steps, _ = ours(a, root, Path(root)/'data', a.steps or 60, seed, f'seed_{seed}', valid=[], warmup=5)
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
    p.add_argument('--plain', action='store_true', help='no changed segments; ours: unchecked, too')
    p.add_argument('--final', action='store_true', help='score the final part: once, when all is decided')
    p.add_argument('--keep', default='', help='a folder for the finished run')
    p.add_argument('--floors', action='store_true'); p.add_argument('--nan-seeds', type=int, default=0)
    a = p.parse_args()
    torch.set_num_threads(1)
    media = media_folder()
    if not media or not (media/'audio'/'digits').exists(): raise SystemExit('No spoken digits here. Set TRAINLAB_DATA.')
    if a.nan_seeds: print(json.dumps(nan_seeds(a, media/'audio'/'digits'))); return
    with tempfile.TemporaryDirectory() as root: compare(a, lay_out(media, Path(root)/'data', a.final), Path(root))

def compare(a, data, root):
    "One arm, on a folder of what is heard and what is not."
    cfg = configure(Config, dict(data=str(data), valid=['unheard/*'], sample_rate=8000))
    train_set, held = splits(cfg, system.files(cfg))
    told = dict(part='final' if a.final else 'dev', plain=a.plain)
    if a.floors: print(json.dumps(told | floors(train_set, held))); return
    parameters = sum(q.numel() for q in system.model(Config(width=a.width), dict(sample_rate=8000)).parameters())
    if a.model == 'oobleck': print(json.dumps(told | baseline(a, train_set, held, parameters))); return
    changes = dict(optimizer=a.optimizer) | (dict(augment=0., checked_seconds=0.) if a.plain else {})
    changes |= {k: v for k, v in dict(lr=a.lr, width=a.width).items() if v}
    if a.spectral_weight >= 0: changes['spectral_weight'] = a.spectral_weight
    run, steps, seconds = ours(a, str(root), data, a.steps or None, a.seed, **changes)
    model, _ = load_model(run, 'cpu')
    s = {k: round(float(v), 4) for k, v in run.scores().iloc[0].items()}
    found = score(held, lambda x: model(x).reconstruction, model)
    print(json.dumps(told | dict(model='ours', parameters=parameters, seed=a.seed, steps=steps, cpu_minutes=round(seconds/60, 2), kl=s.get('kl_per_dim'), active=s.get('active_channels'), **found)))
    if a.keep: shutil.copytree(run.path, a.keep)

if __name__ == '__main__': main()
