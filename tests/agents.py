"""Kill a rank, the agent or the process that started them while a run trains on several devices; nothing may differ.

    python tests/agents.py --ranks 2 --kills 6
    python tests/agents.py --ranks 4 --kills 18
    python tests/agents.py --ranks 2 --kills 12 --fsdp

A rank that is killed is started again with the others by torch's agent, and the command goes on; where the agent or the
process that started it is killed, the command is given again. The finished run must equal, bit for bit, one that was left
alone on as many ranks, and ten seconds after a kill nothing of it may be running.
"""
import argparse, json, os, random, signal, subprocess, sys, tempfile, time
from pathlib import Path
from killing import litter, outcome, same
from trainlab.run.config import RunConfig
from trainlab.run.folder import Run

COMMAND = '''
from trainlab.vsr.train import Config, train
train(Config(name={name!r}, root={root!r}, steps=40, batch_size=4, frames=3, save_every=4, preview_every=20, previews=0, device='cpu', devices={ranks}, workers=1, fsdp={fsdp}))
'''


FSDP = [False]


def started(root: str, name: str, ranks: int) -> subprocess.Popen:
    with open(os.path.join(root, f'{name}.log'), 'a') as log:
        return subprocess.Popen([sys.executable, '-c', COMMAND.format(name=name, root=root, ranks=ranks, fsdp=FSDP[0])], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


def processes() -> dict[int, tuple[int, str]]:
    "Number -> parent and command line of every process."
    found = {}
    for p in Path('/proc').glob('[0-9]*'):
        try: found[int(p.name)] = int((p/'stat').read_text().rpartition(')')[2].split()[1]), (p/'cmdline').read_bytes().replace(b'\0', b' ').decode()
        except (OSError, ValueError): continue
    return found


def family(pid: int) -> dict[int, str]:
    "A process and all that it has started, with their command lines."
    every, found = processes(), {}
    ahead = [pid]
    while ahead:
        p = ahead.pop()
        if p in every: found[p] = every[p][1]
        ahead += [c for c, (parent, _) in every.items() if parent == p]
    return found


def newest(root: str, name: str) -> int: return max(Run(RunConfig(name=name, root=root)).checkpoints.steps(), default=0)


def struck(pid: int, what: str, rng: random.Random) -> tuple[bool, set[int]]:
    "Kill one of them, if it is there; and who they were."
    members = family(pid)
    agents = [p for p, c in members.items() if 'torch.distributed.run' in c]
    ranks = [p for p in members if processes().get(p, (0, ''))[0] in agents]
    whom = dict(rank=ranks, agent=agents, starter=[pid])[what]
    if whom: os.kill(rng.choice(whom), signal.SIGKILL)
    return bool(whom), set(members)


def left(members: set[int]) -> list[str]:
    "What of them is still running after ten seconds."
    end = time.monotonic() + 10
    while time.monotonic() < end:
        now = {p: c for p, (_, c) in processes().items() if p in members and ('trainlab' in c or 'torch' in c)}
        if not now: return []
        time.sleep(.1)
    return list(now.values())


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--ranks', type=int, default=2); p.add_argument('--kills', type=int, default=3); p.add_argument('--seed', type=int, default=0); p.add_argument('--fsdp', action='store_true')
    opt = p.parse_args()
    FSDP[0] = opt.fsdp
    rng, counts, orphans, different, found = random.Random(opt.seed), dict(rank=0, agent=0, starter=0), [], 0, []
    with tempfile.TemporaryDirectory() as root:
        whole = started(root, 'whole', opt.ranks)
        if whole.wait(): raise SystemExit(Path(root, 'whole.log').read_text()[-4000:])
        order = [k for _ in range(-(-opt.kills//3)) for k in counts][:opt.kills]
        for n, what in enumerate(order):
            name = f'run_{n//2}'
            before = newest(root, name)
            process = started(root, name, opt.ranks)
            while process.poll() is None and newest(root, name) == before: time.sleep(.02)
            time.sleep(rng.uniform(0, .3))
            hit, members = struck(process.pid, what, rng) if process.poll() is None else (False, set())
            counts[what] += hit
            code = process.wait()
            if what == 'rank' and code: raise SystemExit(f'it did not go on by itself:\n{Path(root, f"{name}.log").read_text()[-4000:]}')
            orphans += left(members)
            if n % 2 and n + 1 < len(order): continue
        for n in range(-(-len(order)//2)):
            last = started(root, f'run_{n}', opt.ranks)
            if last.wait(): raise SystemExit(Path(root, f'run_{n}.log').read_text()[-4000:])
            different += not same(outcome(root, f'run_{n}'), outcome(root, 'whole'))
            found += litter(root, f'run_{n}')
        begun = sum(Path(root, f'run_{n}.log').read_text().count('continues from step') for n in range(-(-len(order)//2)))
    print(json.dumps(dict(ranks=opt.ranks, **{f'killed_{k}': v for k, v in counts.items()}, continued=begun, different=different, orphans=orphans, litter=found)))
    sys.exit(bool(different or orphans or found))


if __name__ == '__main__': main()
