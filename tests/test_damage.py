"Bits flipped and files cut at random places of the newest checkpoint: each one noticed, the one before used."
import random, shutil, warnings
import pytest, torch
from trainlab.run.checkpoint import Checkpoints


@pytest.mark.parametrize('part', range(4))
def test_damage_is_noticed(tmp_path, part):
    kept, rng = Checkpoints(tmp_path/'kept', keep=0), random.Random(part)
    for step in (1, 2):
        kept.save(step, dict(model=dict(w=torch.randn(50, 40), n=torch.tensor(step)), optimizer={'0.exp_avg': torch.randn(50, 40)}),
                  {'state.json': f'{{"step": {step}}}', 'config.yaml': 'name: run\n'})
    kept.wait()
    for trial in range(50):
        shutil.rmtree(tmp_path/'run', ignore_errors=True); shutil.copytree(tmp_path/'kept', tmp_path/'run')
        run = Checkpoints(tmp_path/'run')
        victim = rng.choice(sorted(run.path(2).iterdir()))
        good = victim.read_bytes(); at = rng.randrange(len(good))
        if rng.random() < .3: victim.write_bytes(good[:at])
        else: victim.write_bytes(good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1:])
        with pytest.warns(UserWarning, match=f'step_00000002: {victim.name}'): newest = run.newest()
        assert newest == run.path(1)
        assert len(list((tmp_path/'run/bad').iterdir())) == 1
