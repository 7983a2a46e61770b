"""Two machines, played by two agents of torchrun: one is killed and comes back, and the run goes on with what is there.

    python tests/nodes.py

With exact_world=2 the run on two, one and again two ranks must equal the run of one process, bit for bit.
"""
import json, os, signal, socket, subprocess, sys, tempfile, time
from pathlib import Path
from killing import outcome, same
from trainlab.run.config import RunConfig
from trainlab.run.folder import Run

TOLD = dict(steps=36, batch_size=4, frames=3, save_every=4, preview_every=18, previews=0, device='cpu', exact_world=2)


def newest(root: str) -> int: return max(Run(RunConfig(name='nodes', root=root)).checkpoints.steps(), default=0)


def node(root: str, name: str, port: int) -> subprocess.Popen:
    options = {'nnodes': '1:2', 'nproc-per-node': 1, 'rdzv-backend': 'c10d', 'rdzv-endpoint': f'127.0.0.1:{port}', 'local-addr': '127.0.0.1', 'rdzv-id': 'nodes', 'max-restarts': 10,
               'rdzv-conf': 'last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3', 'monitor-interval': .2}
    command = [sys.executable, '-m', 'torch.distributed.run', *(f'--{k}={v}' for k, v in options.items()), '-m', 'trainlab.launch.rank', f'{root}/spec.yaml']
    with open(f'{root}/{name}.log', 'a') as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=os.environ | dict(TORCH_DISABLE_SHARE_RDZV_TCP_STORE='1'))


def until(step: int, root: str, alive: subprocess.Popen) -> None:
    while newest(root) < step:
        if alive.poll() is not None: raise SystemExit(Path(root, 'a.log').read_text()[-4000:])
        time.sleep(.05)


def main() -> None:
    with tempfile.TemporaryDirectory() as root, socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        free.close()
        Path(root, 'spec.yaml').write_text(json.dumps(dict(system='trainlab.vsr.train:system', name='nodes', root=root) | TOLD))
        a = node(root, 'a', port)
        time.sleep(1)      # the first one holds the meeting point, and stays
        b = node(root, 'b', port)
        until(8, root, a)
        os.killpg(b.pid, signal.SIGKILL)
        b.wait()
        until(newest(root) + 8, root, a)
        b = node(root, 'b', port)
        codes = a.wait(), b.wait()
        history = Run(RunConfig(name='nodes', root=root)).info['history']
        alone = subprocess.run([sys.executable, '-c', f'from trainlab.vsr.train import Config, train; train(Config(name="alone", root={root!r}, **{TOLD!r}))'], capture_output=True, text=True)
        if alone.returncode: raise SystemExit(alone.stderr[-3000:])
        different = int(not same(outcome(root, 'nodes'), outcome(root, 'alone')))
    print(json.dumps(dict(codes=codes, ranks=[h['ranks'] for h in history], from_steps=[h['from_step'] for h in history if 'from_step' in h], different=different)))
    sys.exit(different or any(codes))


if __name__ == '__main__': main()
