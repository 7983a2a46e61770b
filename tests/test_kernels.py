"Super-resolution's kernels across processes: made once, the same for everybody, and done without where there is no compiler."
import os, subprocess, sys
from pathlib import Path
import pytest, torch
from trainlab.vsr.kernels import compiler

SPLAT = '''
import sys, torch
from trainlab.vsr import kernels
from trainlab.vsr.splat import Splat
torch.manual_seed(0)
made = Splat()(torch.rand(1, 1, 40, 50), torch.rand(1, 6, 40, 50), torch.randn(1, 6, 2, 40, 50))
torch.save(made, sys.argv[1])
print(kernels.wanted() and kernels.kernels() is not None)
'''


def started(home: Path, name: str, **environment: str) -> subprocess.Popen:
    env = {k: v for k, v in os.environ.items() if k != 'TRAINLAB_KERNELS'} | dict(TRAINLAB_CACHE=str(home/'a cache'), PYTHONPATH=str(Path(__file__).parents[1]), OMP_NUM_THREADS='1')
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', SPLAT, str(home/name)], env=env | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.skipif(not compiler(), reason='no C compiler')
def test_two_that_come_at_once_share_a_library_and_a_third_does_without(tmp_path):
    at_once = [started(tmp_path, name) for name in ('a', 'b')]
    assert [p.communicate(timeout=300)[0] for p in at_once] == ['True\n', 'True\n']
    assert sorted(p.suffix for p in (tmp_path/'a cache'/'kernels').iterdir()) == ['.sha256', '.so']
    assert started(tmp_path, 'c', TRAINLAB_KERNELS='0').communicate(timeout=300)[0] == 'False\n'
    a, b, c = (torch.load(tmp_path/name) for name in 'abc')
    assert a.equal(b) and (a - c).abs().max() < 1e-5


@pytest.mark.skipif(not compiler(), reason='no C compiler')
def test_a_library_that_was_cut_short_is_made_anew(tmp_path):
    assert started(tmp_path, 'a').communicate(timeout=300)[0] == 'True\n'
    library = next((tmp_path/'a cache'/'kernels').glob('*.so')); was = library.read_bytes()
    library.unlink(); library.write_bytes(was[:len(was)//2])
    assert started(tmp_path, 'b').communicate(timeout=300)[0] == 'True\n' and len(library.read_bytes()) > len(was)//2
    assert torch.load(tmp_path/'a').equal(torch.load(tmp_path/'b'))


@pytest.mark.parametrize('script', ['[ "$1" = --version ] && echo cc 1 || { echo error: no space left >&2; exit 1; }', '[ "$1" = --version ] && echo cc 1',
                                    '[ "$1" = --version ] && echo cc 1 || { printf "\\377\\n" >&2; exit 1; }', 'printf "\\377"; exit 1'])
def test_a_compiler_that_fails_is_done_without(tmp_path, script):
    cc = tmp_path/'bin'/'cc'; cc.parent.mkdir(); cc.write_text(f'#!/bin/sh\n{script}\n'); cc.chmod(0o755)
    said = started(tmp_path, 'made', PATH=f'{cc.parent}{os.pathsep}{os.environ["PATH"]}').communicate(timeout=300)[0]
    assert said.endswith('False\n') and ('the C compiler gave none' in said) == ('cc 1' in script) and torch.load(tmp_path/'made').isfinite().all()


@pytest.mark.skipif(not compiler(), reason='no C compiler')
def test_a_run_that_goes_on_without_says_so(tmp_path):
    job = """
import sys
from trainlab.run.config import configure
from trainlab.vsr.train import Config, train
train(configure(Config, dict(root=sys.argv[1], name='r', steps=int(sys.argv[2]), schedule='constant', warmup=0, size='nano', batch_size=1, preview_every=0, previews=0, save_every=1, valid_kinds=['shift'], device='cpu', crop=24)))
"""
    def said(steps, **environment):
        env = os.environ | dict(TRAINLAB_CACHE=str(tmp_path/'cache'), PYTHONPATH=str(Path(__file__).parents[1]), OMP_NUM_THREADS='1') | environment
        return subprocess.run([sys.executable, '-c', job, str(tmp_path), str(steps)], env=env, capture_output=True, text=True, check=True, timeout=600).stderr
    assert 'not bit for bit' not in said(1, TRAINLAB_KERNELS='') + said(2, TRAINLAB_KERNELS='')
    assert 'not bit for bit: kernels: ' in said(3, TRAINLAB_KERNELS='0')
