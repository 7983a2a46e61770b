"The two stages of the video VAE, what began before there were classes, and the script that scores a folder of clips."
import importlib.util
from pathlib import Path
import numpy as np, pytest, torch, yaml
from trainlab.media.video import write_video
from trainlab.run.checkpoint import read_checkpoint
from trainlab.run.config import configure
from trainlab.run.weights import Weights
from trainlab.video_vae.model import VideoVAE
from trainlab.video_vae.train import system

HERE = Path(__file__).parent


def film(k: int, frames: int = 24, height: int = 64, width: int = 80):
    y, x = np.mgrid[:height, :width]
    for t in range(frames): yield np.stack([127 + 90*np.sin((x + (k + 1)*t)/(7 + k)), 127 + 90*np.cos((y - t)/(9 + k)), (2*x + 3*y + 5*t) % 256], -1).astype(np.uint8)


def config(home, **kw):
    told = dict(root=str(home/'runs'), data=str(home/'films'), resolution=32, frames=5, batch_size=2, preview_every=0, previews=0, save_every=2, keep=0, device='cpu')
    return configure(system.config, told | ({} if 'phases' in kw else dict(steps=2, warmup=0)) | kw)


@pytest.fixture
def home(tmp_path):
    for k in range(2): write_video(tmp_path/'films'/f'clip_{k}.mp4', film(k), preset='ultrafast')
    return tmp_path


def test_in_the_second_stage_the_decoder_alone_trains(home):
    preset = yaml.safe_load((HERE.parent/'nbs/presets/video_vae_two_stages.yaml').read_text())
    small = dict(resolution=32, frames=5, batch_size=2, steps=2, lr=1e-3, warmup=0)
    phases = [p | small for p in preset['phases']]
    run = system.train(config(home, name='stages', phases=phases))
    first, last = (read_checkpoint(run.path/'checkpoints'/f'step_{s:08d}')[0]['model'] for s in (2, 4))
    changed = {k.partition('.')[0] for k in first if not (first[k] == last[k]).all()}
    assert changed == {'decoder', 'decode_base', 'base_bias'}


def test_a_model_from_before_there_were_classes_is_read_and_trained_on(home):
    old = VideoVAE(8, 256, 2, 3); old.save_pretrained(home/'old')
    said = (home/'old/config.json').read_text(); assert '"base": "blocks"' in said
    (home/'old/config.json').write_text(said.replace('  "base": "blocks",\n', ''))
    run = system.train(config(home, name='on', init_from=str(home/'old')))
    assert run.config.base == 'blocks' and run.config.size == 'nano' and Weights(run.path).tensors()['decode_base'].shape == (768, 8, 1, 1)


@pytest.mark.parametrize('base', ['neighbours', 'classes'])
def test_other_linear_codecs_go_on_exactly_and_take_adapters(home, base):
    def kept(run): return Weights(run.path).tensors()
    given = dict(name='on', base=base, size='pico', steps=4, warmup=0)
    whole = kept(system.train(config(home, **given)))
    again = kept(system.train(config(home, **given, resume_from=2)))
    assert all(v.equal(again[k]) for k, v in whole.items())
    adapted = system.train(config(home, name='adapted', init_from=str(home/'runs/on'), training_mode='lora', rank=2, steps=1, warmup=0))
    assert adapted.config.base == base and all(v.equal(kept(adapted)[k]) for k, v in whole.items() if 'base' in k or 'classes' in k)
    vae = VideoVAE.from_pretrained(home/'runs/on/model/diffusers').eval()
    clip = torch.rand(1, 3, 13, 24, 40)*2 - 1
    with torch.no_grad():
        z = vae.encode(clip).mode(); parts = vae.encode(clip, chunk=4).mode()
        assert (z - parts).abs().max() < 1e-4 and (vae.decode(z) - vae.decode(z, chunk=1)).abs().max() < 1e-4
        later = clip.clone(); later[:, :, 9:] = 0
        assert (vae.encode(later).mode()[:, :, :3] - z[:, :, :3]).abs().max() < 1e-4          # what comes later changes nothing before
        assert vae.to(torch.bfloat16).encode(clip.bfloat16()).mode().isfinite().all()


def test_clips_of_a_folder_are_scored(home):
    spec = importlib.util.spec_from_file_location('bench_mcl_jcv', HERE/'bench'/'bench_mcl_jcv.py'); bench = importlib.util.module_from_spec(spec); spec.loader.exec_module(bench)
    run = system.train(config(home, name='scored'))
    for k in range(2): write_video(home/'large'/f'clip_{k}.mp4', film(k, 36, 260, 300), preset='ultrafast')
    assert [len(list(bench.windows(home/'large'/'clip_0.mp4', most))) for most in (0, 1)] == [2, 1]
    rows = bench.score(home/'large', str(run.path), 1, device='cpu')
    assert list(rows) == ['clip_0.mp4', 'clip_1.mp4', 'mean'] and set(rows['mean']) == {'psnr', 'ssim', 'floor_psnr', 'floor_ssim'}
    assert rows['mean']['psnr'] == pytest.approx((rows['clip_0.mp4']['psnr'] + rows['clip_1.mp4']['psnr'])/2) and 5 < rows['mean']['psnr'] < 60
    with pytest.raises(SystemExit, match='24 frames of 80x64; at least 17 of 256x256'): list(bench.windows(home/'films'/'clip_0.mp4', 0))
