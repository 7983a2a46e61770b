"Weights in shards: as on one process, and equal bits where it is continued on as many ranks."
import json, subprocess, sys
import pytest


def test_two_one_and_two_ranks(script):
    found = json.loads(script('shards.py').splitlines()[-1])
    assert found['different'] == 0 and not found['litter'] and found['apart'] <= 1e-6 and found['turns_apart'] <= 1e-6 and found['steps'] == 24


def test_a_rank_is_killed(script):
    found = json.loads(script('agents.py', '--ranks', 2, '--kills', 1, '--fsdp').splitlines()[-1])
    assert found['killed_rank'] == 1 and found['different'] == 0 and not found['orphans'] and not found['litter']


@pytest.mark.parametrize('told, said', [(dict(gradient_accumulation=3), 'Make gradient_accumulation or batch_size a multiple of 2'), (dict(exact_world=2), 'fsdp does not go with exact_world')])
def test_what_cannot_be_ends_in_words(tmp_path, told, said):
    code = f'from trainlab.vsr.train import Config, train; train(Config(**{dict(name="wrong", root=str(tmp_path), steps=4, batch_size=1, frames=3, device="cpu", devices=2, fsdp=True) | told!r}))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode and said in done.stderr, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize('what, ranks, most', [('transformer', 4, 1e-6), ('frozen', 2, 1e-6), ('muon', 2, 1e-2), ('vsr', 4, 1e-3)])
def test_more_ranks_and_muon(script, what, ranks, most):
    found = json.loads(script('shards.py', '--what', what, '--ranks', ranks, timeout=3600).splitlines()[-1])
    assert found['different'] == 0 and found['apart'] <= most and found['turns_apart'] <= most

@pytest.mark.slow
def test_many_kills(script):
    found = json.loads(script('agents.py', '--ranks', 2, '--kills', 12, '--fsdp', timeout=7200).splitlines()[-1])
    assert found['different'] == 0 and not found['orphans'] and not found['litter']
