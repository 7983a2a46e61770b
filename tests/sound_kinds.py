"A hundred kinds of sound, made and recorded, loud and soft, at any rate; and what a model loses on them."
import numpy as np, torch
from trainlab.audio_vae.augment import KINDS, made
from trainlab.audio_vae.model import AudioVAE
from trainlab.audio_vae.train import floor
from trainlab.media.audio import read_audio
from trainlab.media.samples import media_folder, sample_sounds
from trainlab.nn.metrics import si_sdr

MOST = 60.  # dB; what is better is equal


def simple(rate: int) -> dict[str, np.ndarray]:
    "Sounds of one channel, half a second, that formulas say."
    n, t = rate//2, np.arange(rate//2)/rate
    sine = lambda hertz: np.sin(2*np.pi*hertz*t)
    white = np.random.default_rng(0).standard_normal(n)
    out = {f'sine {share:.3f}': sine(share*rate) for share in (.001, .005, .01, .02, .04, .08, .12, .17, .23, .3, .4, .49)}
    out |= {f'{kind} {k}': made(kind, k, n, rate) for kind in KINDS for k in range(8)}
    out |= {f'square {hertz}': np.sign(sine(hertz) + 1e-9) for hertz in (50, 313, 1700)} | {f'sawtooth {hertz}': (hertz*t) % 1 - .5 for hertz in (80, 440, 1234)}
    out |= {'silence': 0*t, 'constant': 0*t + 1, 'constant and tone': 1 + .01*sine(500), 'one sample': np.eye(1, n, 777)[0], 'ramp': t, 'step': (t > .2)*1.}
    out |= {'white': white, 'clipped': (9*white).clip(-1, 1), 'clipped tone': (9*sine(200)).clip(-1, 1), 'random bits': np.sign(white), 'sparse': white*(np.abs(white) > 3)}
    out |= {'tone then silence': sine(300)*(t < .25), 'silence then noise': white*(t > .4), 'burst in quiet': white*np.where(abs(t - .25) < .02, 1, 1e-3)}
    out |= {'trembling': sine(700)*(1 + sine(9)), 'two tones': sine(440) + sine(443), 'fading': sine(900)*np.exp(-20*t), 'growing': white*np.exp(20*t)}
    return out | {f'{k} samples': white[:k] for k in (1, 2, 63, 64, 65, 1000)}


def kinds(rate: int, channels: int) -> dict[str, np.ndarray]: # (channels, n) float32
    "All of them: also quieter and louder by far, in two channels that differ, and recorded, where recordings are."
    out = {k: x/max(np.abs(x).max(), 1e-9)*.3 for k, x in simple(rate).items()}
    for k in ('white', 'sine 0.080', 'harmonics 1', 'clicks 2', 'constant'): out |= {f'{k}, quiet': out[k]*1e-4, f'{k}, loud': out[k]*100}
    stack = lambda a, b: np.stack([a, b]) if channels == 2 else a[None]
    every = {k: stack(x, x) for k, x in out.items()}
    if channels == 2:
        white, sine, stack_of = (out[k] for k in ('white', 'sine 0.020', 'harmonics 3'))
        every |= {'one side': stack(white, 0*white), 'against each other': stack(stack_of, -stack_of), 'two sounds': stack(white, sine), 'a quiet side': stack(sine, 1e-3*white)}
    built = {k: x[:, :8000] for k, x in sample_sounds('valid').items()}
    every |= {k: np.repeat(x, channels, 0) for k, x in built.items()}
    media = media_folder()
    files = sorted([*(media/'audio'/'sounds').glob('*.wav'), *(media/'audio'/'digits').glob('7_*_3.wav'), *(media/'audio').glob('*.wav')]) if media else []
    for p in files: every[p.name] = read_audio(p, rate=rate, channels=channels)[0][:, :4*rate]
    return {k: x.astype(np.float32) for k, x in every.items()}


@torch.no_grad()
def lost(model: AudioVAE, x: np.ndarray) -> float:
    "Decibels below the linear codec, of the channel that loses most; what is silent and stays so loses nothing."
    x = torch.from_numpy(x)[None]
    y, base = model(x, sample=False).reconstruction, floor(model, x)
    assert y.shape == x.shape and y.isfinite().all()
    heard = x[0].square().sum(-1) > 0
    if not heard.any(): return MOST*bool(y.any())
    ours, least = (si_sdr(v[0, heard], x[0, heard]).clamp(max=MOST) for v in (y, base))
    return float((least - ours).nan_to_num(0, 0, 0).max())
