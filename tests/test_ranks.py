"Several ranks: bit for bit what it was, stopped, killed, and on other numbers of them."
import json, os, subprocess, sys
import pytest, torch


def rows(said): return [json.loads(line) for line in said.splitlines() if line.startswith('{')]


def undisturbed(found): return all(v == 0 for row in found for k, v in row.items() if k.endswith('different')) and not any(row.get('litter') for row in found)


def test_two_and_four_ranks_are_stopped_and_killed(script):
    found = rows(script('ranks.py', '--what', 'conv', '--worlds', 4, '--stops', 2, '--kills', 1)) + rows(script('ranks.py', '--what', 'vae', '--worlds', 2, '--stops', 1, '--kills', 1))
    assert undisturbed(found) and sum(row['stops_went_on'] + row['kills_went_on'] for row in found) >= 2
    assert found[0]['apart'] <= 5e-7 and sum(row['stops'] + row['kills'] for row in found) == 5


def test_exact_on_one_two_and_four_ranks(script):
    found = rows(script('ranks.py', '--what', 'normed', '--exact'))
    assert undisturbed(found) and found[0]['turned_at'][0] == 3 and 'turns_different' in found[0]


def test_a_rank_is_killed_under_the_agent(script):
    found, = rows(script('agents.py', '--ranks', 2, '--kills', 1))
    assert found['killed_rank'] == 1 and found['different'] == 0 and not found['orphans'] and not found['litter']


def test_a_job_on_two_devices_by_papermill(tmp_path):
    "The README's command, with `-p devices 2`; what comes out is read by the notebook's own last cells."
    notebook = os.path.join(os.path.dirname(__file__), '..', 'nbs', 'train_vsr.ipynb')
    told = dict(name='two', root=str(tmp_path/'runs'), steps=6, frames=3, batch_size=2, devices=2, device='cpu', preview_every=0)
    command = [sys.executable, '-m', 'papermill', notebook, str(tmp_path/'out.ipynb'), '--no-progress-bar', '-y', json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    info = json.loads((tmp_path/'runs/two/run.json').read_text())
    assert info['finished'] and info['history'][-1]['ranks'] == 2
    assert (tmp_path/'runs/two/model/model.safetensors').exists() and list((tmp_path/'runs/two/previews').glob('step_*/*.png'))


@pytest.mark.parametrize('told, said', [
    (dict(batch_size=1), 'has 1 samples, too few for 2 shares'), (dict(devices=2, device='cuda:1'), 'is one device'), (dict(data='nowhere'), 'no such'), (dict(device='auto'), 'say device=cpu, too'),
    (dict(exact_world=3), 'both powers of two')])
def test_what_cannot_be_ends_in_words(tmp_path, told, said):
    if told == dict(device='auto') and torch.cuda.is_available(): pytest.skip('there is a GPU')
    code = f'from trainlab.vsr.train import Config, train; train(Config(**{dict(name="wrong", root=str(tmp_path), steps=4, frames=3, device="cpu", devices=2) | told!r}))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode and said in done.stderr.splitlines()[-1], done.stderr[-2000:]


@pytest.mark.slow
def test_many_kills_of_ranks(script): assert undisturbed(rows(script('ranks.py', '--what', 'normed', 'vae', '--stops', 10, '--kills', 15, timeout=7200)))

@pytest.mark.slow
def test_every_model_exactly(script): assert undisturbed(rows(script('ranks.py', '--exact', timeout=3600)))

@pytest.mark.slow
@pytest.mark.parametrize('ranks', (2, 4))
def test_many_kills_under_the_agent(script, ranks):
    found, = rows(script('agents.py', '--ranks', ranks, '--kills', 18, timeout=7200))
    assert found['different'] == 0 and not found['orphans'] and not found['litter']

@pytest.mark.slow
def test_a_machine_goes_and_comes_back(script):
    found, = rows(script('nodes.py'))
    assert found['different'] == 0 and found['ranks'] == [2, 1, 2] and found['codes'] == [0, 0]
