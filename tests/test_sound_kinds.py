"No sound comes out more than .1 dB below the linear codec, whatever it is and whatever the nets have become."
import pytest, torch
from sound_kinds import kinds, lost
from trainlab.audio_vae.model import AudioVAE, audio_model
from trainlab.audio_vae.train import load_model, train, Config
from trainlab.run.config import configure


def below(model, rate, channels, every=1):
    "Which of the kinds lose more, by how much; and how many there were."
    found = [(k, lost(model, x)) for k, x in [*kinds(rate, channels).items()][::every]]
    return {k: round(v, 2) for k, v in found if v > .1}, len(found)


@pytest.mark.parametrize('steps', [60, pytest.param(700, marks=pytest.mark.slow)])
def test_trained(tmp_path, steps):
    run = train(configure(Config, dict(root=str(tmp_path), steps=steps, warmup=5, width=64 if steps < 100 else 0, preview_every=0, save_every=0, device='cpu')))
    model, _ = load_model(run, 'cpu')
    worse, count = below(model, 8000, 1)
    assert not worse and count >= 100
    model.config.checked_seconds = 0.
    assert below(model, 8000, 1)[0]                     # it is the check that sees to it


@pytest.mark.parametrize('size, rate, channels', [('nano', 16000, 1), ('small', 24000, 2), pytest.param('small', 48000, 2, marks=pytest.mark.slow)])
def test_spoiled(size, rate, channels):
    torch.manual_seed(0)
    model = audio_model(size, rate, channels, width=32, encoder_blocks=1, decoder_blocks=1).eval()
    white = torch.randn(4, channels, rate)*.05
    model.fit_base([white, white.cumsum(-1)*.05])
    for p in model.parameters(): p.data += .1*torch.randn_like(p)
    worse, count = below(model, rate, channels)
    assert not worse and count >= 100
