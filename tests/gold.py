"""The gold standard: a few steps of each system, and every bit that comes out of them.

    python tests/gold.py check      # what differs from tests/gold.json; exit 1 if anything does
    python tests/gold.py write      # after a change of the arithmetic that is meant; say so in CHANGELOG.md
    python tests/gold.py add        # where nothing changed, on another machine

Kept are sha256 over all tensors of the newest checkpoint (by file), all records but for clocks and memory (by kind), all
previews, the finished model and what is written beside it. Bits depend on the processor and on versions: the file has a
standard for each machine it was written on, which it names, and a check on others is skipped, saying so.
"""
import contextlib, hashlib, importlib.metadata, io, json, os, platform, sys, tempfile
from collections.abc import Iterator
from pathlib import Path
import numpy as np, torch
from PIL import Image
from safetensors.torch import load_file
from trainlab.audio_vae.train import system as audio_vae
from trainlab.media.audio import write_audio
from trainlab.media.video import write_video
from trainlab.run.chapters import differences
from trainlab.run.checkpoint import read_checkpoint
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.system import System
from trainlab.video_vae.finetune import system as finetune
from trainlab.video_vae.model import SIZES
from trainlab.video_vae.train import system as video_vae
from trainlab.vsr.formats import FORMATS, Format
from trainlab.vsr.kernels import compiler, wanted
from trainlab.vsr.prepare import prepare
from trainlab.vsr.train import system as vsr

KEPT = Path(__file__).with_name('gold.json')
CLOCK = ('time', 'seconds', 'eta_s', 'samples_per_s', 'memory_mb')
WAN = dict(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.]*4, latents_std=[1.]*4)


def machine() -> dict[str, str]:
    "What the bits depend on."
    info = Path('/proc/cpuinfo')
    names = [line.partition(':')[2].strip() for line in info.read_text().splitlines() if line.startswith('model name')] if info.exists() else []
    versions = {k: importlib.metadata.version(k) for k in ('torch', 'numpy', 'av', 'pillow', 'peft', 'diffusers', 'scikit-image', 'soxr')}
    return dict(compiler=compiler() if wanted() else '', processor=names[0] if names else platform.processor() or platform.machine(), capability=torch.backends.cpu.get_cpu_capability()) | versions


def media(home: Path) -> None:
    "Videos, sounds and a dataset tree, made of formulas."
    for k in range(3):
        y, x = np.mgrid[:96, :128]
        frames = (np.stack([127 + 90*np.sin((x + (k + 1)*t)/(7 + k)), 127 + 90*np.cos((y - t)/(9 + k)), (2*x + 3*y + 5*t) % 256], -1).astype(np.uint8) for t in range(40))
        write_video(home/'videos'/f'clip_{k}.mp4', frames, preset='ultrafast')
    for k in range(5):
        t = np.arange(8000 + 500*k)/8000
        write_audio(home/'sounds'/f'sound_{k}.wav', (.3*np.sin(2*np.pi*(200 + 90*k)*t*(1 + .1*t)))[None].astype(np.float32), 8000)
    prepare(home/'videos'/'clip_0.mp4', home/'tree', formats=['tiny'], frames=(3,), samples=6)


def runs(home: Path) -> Iterator[tuple[System, dict]]:
    "Systems and what they are told: built-in data, folders and trees; phases, adapters, accumulation, a PatchGAN."
    media(home)
    videos, sounds, folder = str(home/'videos'), str(home/'sounds'), home/'runs'
    phase = lambda name, **kw: dict(name=name, batch_size=2, lr=1e-3, steps=2) | kw
    common = dict(root=str(folder), preview_every=2, save_every=2, log_every=1, device='cpu')
    alone = dict(steps=4, warmup=1)
    small = common | dict(frames=3, crop=16, num_blocks=3, base_channels=24, batch_size=2) | alone
    yield vsr, small | dict(gradient_accumulation=2)
    yield vsr, small | dict(name='vsr_videos', data=videos, fft_weight=.1, weight_decay=.01)
    yield vsr, small | dict(name='vsr_tree', data=str(home/'tree'), formats=['tiny'], crop=8)
    clips = common | dict(size='tiny', batch_size=2, resolution=16, frames=5)
    both = [phase('adapter', mode='lora'), phase('all', loss_weights=dict(kl=1e-4))]
    grow = [phase('a', min_frames=1, max_frames=4), phase('b', resolution=24, gradient_accumulation=2)]
    yield video_vae, clips | dict(phases=both, gan_weight=.1, gan_start=1, perceptual_weight=.1, rank=2)
    yield video_vae, clips | dict(name='video_folder', data=videos, phases=grow)
    yield video_vae, clips | alone | dict(name='video_valid', data=videos, valid=['clip_2.mp4'], gradient_accumulation=2, valid_frames=7)
    yield video_vae, clips | alone | dict(name='video_wan', size='nano', model='diffusers:AutoencoderKLWan', model_settings=WAN, training_mode='lora', rank=2)
    sound = common | dict(batch_size=2, width=16)
    yield audio_vae, sound | alone
    yield audio_vae, sound | dict(name='audio_phases', data=sounds, phases=[phase('a', seconds=.1), phase('b', seconds=.2, mode='lora')], rank=2)
    tune = {k: v for k, v in clips.items() if k != 'size'} | alone | dict(rank=2, full_steps=2)
    base = dict(init_from=str(folder/'video_valid'))
    yield finetune, tune | base | dict(data=videos, training_mode='lora_then_full', valid=['clip_0.mp4'])
    yield finetune, tune | dict(name='finetune_full', init_from=str(folder/'video_wan/model/diffusers'), training_mode='full')
    yield finetune, tune | base | dict(name='finetune_dora', training_mode='lora_then_full', full_steps=1, dora=True)
    yield finetune, tune | base | dict(name='finetune_lora')
    yield finetune, tune | dict(name='finetune_adapter', init_from=str(folder/'finetune_lora/model/adapter'), training_mode='full')


def digest(parts: dict[str, bytes]) -> str: return hashlib.sha256(b''.join(k.encode() + b'\0' + hashlib.sha256(v).digest() for k, v in sorted(parts.items()))).hexdigest()[:16]


def of_tensors(tensors: dict[str, torch.Tensor]) -> str:
    return digest({f'{k} {v.dtype} {tuple(v.shape)}': v.contiguous().flatten().view(torch.uint8).numpy().tobytes() if v.numel() else b'' for k, v in tensors.items()})


def gist(run: Run) -> dict[str, str]:
    "What a run left, as a hash by part."
    checkpoint, _ = read_checkpoint(run.checkpoints.newest())
    rows = [json.loads(line) for line in (run.path/'metrics.jsonl').read_text().splitlines()]
    said = lambda kind: {str(i): json.dumps({k: v for k, v in r.items() if k not in CLOCK}, sort_keys=True).encode() for i, r in enumerate(rows) if r['kind'] == kind}
    pictures = {str(p.relative_to(run.path)): np.asarray(Image.open(p)).tobytes() for p in run.path.glob('previews/*/*.png')}
    written = {str(p.relative_to(run.path)): of_tensors(load_file(p)) for p in sorted(run.path.glob('model/**/*.safetensors'))}
    return ({f'checkpoint {k}': of_tensors(v) for k, v in checkpoint.items()} | {f'records {k}': digest(said(k)) for k in dict.fromkeys(r['kind'] for r in rows)}
            | dict(previews=digest(pictures)) | written)


def trained() -> dict[str, dict[str, str]]:
    "Every run, by its name."
    torch.set_num_threads(1)
    SIZES['tiny'], FORMATS['tiny'] = (8, 1, 1), Format(48, 48, 'Patches_Tiny')
    found = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ['TRAINLAB_CACHE'] = f'{home}/cache'
        for system, values in runs(Path(home)):
            with contextlib.redirect_stdout(io.StringIO()): run = system.train(configure(system.config, values))
            found[run.config.name] = gist(run)
    return found


def main(verb: str) -> int:
    here, every = machine(), [] if verb == 'write' else json.loads(KEPT.read_text())
    if verb != 'check':
        others = [k for k in every if differences(k['machine'], here)]
        KEPT.write_text(json.dumps([*others, dict(machine=here, runs=trained())], indent=1) + '\n')
        return 0
    kept = next((k for k in every if not differences(k['machine'], here)), None)
    if kept is None:
        apart = min((differences(k['machine'], here) for k in every), key=len)
        print(f'skipped: the gold standard was written on other machines, the nearest of them: {"; ".join(apart)}')
        return 0
    found = trained()
    wrong = [f'{name}: {part} differs' for name in kept['runs'] for part in kept['runs'][name] | found[name] if kept['runs'][name].get(part) != found[name].get(part)]
    print('\n'.join(wrong) or f'{len(found)} runs, {sum(map(len, found.values()))} parts: all equal')
    return int(bool(wrong))


if __name__ == '__main__':
    if sys.argv[1:] not in (['write'], ['check'], ['add']): sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
