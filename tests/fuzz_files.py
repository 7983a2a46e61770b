"""Damage and forge what trainlab reads besides media, and see what it says: a JSON line a case.

    python tests/fuzz_files.py 0 100                # cases 0 to 99 of seed 1
    python tests/fuzz_files.py 57 58 --seed 2 -v    # one of them again, with the traceback
    python tests/fuzz_files.py -- -17 0              # files of gigabytes

A case takes whole files of a run, a model, an adapter, a config or a cache, changes one of them, sometimes writes its
manifest anew as a forger would, and lets trainlab read it. Either that works, and a run that goes on ends with the bits
it ends with otherwise; or one of trainlab's own errors names the file, its folder or the setting.
"""
import argparse, contextlib, copy, faulthandler, io, json, os, resource, shutil, signal, sys, tempfile, time, traceback, warnings, zlib
from collections.abc import Callable, Iterator
from keyword import iskeyword
from pathlib import Path
import numpy as np, torch, yaml
from test_fuzz_media import damaged
from torch import nn
import trainlab
from trainlab.audio_vae.train import system as audio_vae
from trainlab.callbacks.adapters import start
from trainlab.engine.phases import Curriculum, TrainConfig
from trainlab.media.files import probe_once
from trainlab.media.frames import cached_frames
from trainlab.media.video import MediaError, PlaceError, write_video
from trainlab.nn.adapter_files import load_adapter
from trainlab.replay.again import replay
from trainlab.replay.past import at
from trainlab.run import checkpoint
from trainlab.run.checkpoint import BadCheckpoint, read_checkpoint
from trainlab.run.config import BadFile, ParameterError, configure, parameters, read_yaml, table
from trainlab.run.folder import Run, RunError, run_at
from trainlab.run.runs import runs
from trainlab.run.weights import Weights, finishing, whole_model, write_model
from trainlab.system import Data, System, Until, load
from trainlab.video_vae.model import SIZES, VideoVAE
from trainlab.video_vae.train import system as video_vae
from trainlab.vsr.formats import DataError
from trainlab.vsr.train import system as vsr

OWN = BadFile, RunError, ParameterError, BadCheckpoint, MediaError, PlaceError, DataError
OURS = Path(trainlab.__file__).parent
MOST = 10            # seconds of a case beyond what it takes otherwise


class Config(TrainConfig, defaults=dict(name='half', steps=12, lr=1e-2, save_every=4, preview_every=6, log_every=3, ema=.9, precision='fp32', schedule='constant', warmup=0, batch_size=2, keep=0, previews=1)):
    pass


class Waves:
    "Noise to be smoothed."
    names = ['one', 'two', 'three', 'four', 'five']
    def __len__(self): return 5
    def item(self, index, rng):
        rng = rng or np.random.default_rng(index)
        x = torch.from_numpy(rng.normal(size=(1, 8, 8))).float()
        return x, nn.functional.avg_pool2d(x, 3, 1, 1)


def smoother(cfg, facts): return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(.1), nn.Conv2d(4, 1, 3, padding=1))
def draw(model, name, x, y): return np.full((8, 8, 3), 99, np.uint8)
tiny = System(Config, lambda cfg, files: Data(Waves(), Waves(), dict(frames_used=5)), smoother, lambda cfg, model: nn.functional.mse_loss, draw=draw)


# Whole files, to be damaged.

def told(root: Path, **kw): return configure(Config, dict(root=str(root), data=str(root.parent/'data')) | kw)
def weights(run: Run) -> dict: return read_checkpoint(run.checkpoints.newest())[0]
def same(a: dict, b: dict) -> bool: return a.keys() == b.keys() and all(a[f].keys() == b[f].keys() and all(torch.equal(a[f][k], b[f][k]) for k in a[f]) for f in a)


def finished(system: System, home: Path, facts: dict, **kw) -> None:
    "A model as a finished run has it, of random weights."
    run = Run(configure(system.config, dict(name=home.name, root=str(home.parent)) | kw))
    with run.open({}, 'cpu', system.name), finishing(run): write_model(run, system.model(run.config, facts).state_dict(), facts)


def whole(home: Path) -> dict:
    "Runs, models, an adapter and a cache under `home`; what trainings come to."
    root, ends = home/'runs', {}
    (home/'data').mkdir(parents=True)
    for k in range(3): (home/'data'/f'{k}.bin').write_bytes(bytes([k])*100)
    tiny.train(told(root, name='trunk', steps=8)); ends['trunk'] = weights(tiny.train(told(root, name='trunk')))
    tiny.train(told(root), cbs=[Until(8)])
    ends['fork'] = weights(tiny.train(told(root, name='fork', fork_from=f'{root}/trunk@8', steps=14)))
    ends['tuned'] = weights(tiny.train(told(root, name='tuned', init_from=str(root/'trunk'), training_mode='lora', rank=2, steps=2)))
    shutil.copytree(root/'half', root/'copy')
    ends['half'] = weights(tiny.train(told(root, name='copy')))
    shutil.rmtree(root/'copy')
    SIZES['tiny'] = 8, 1, 1
    finished(vsr, root/'vsr', {}, frames=3, num_blocks=3, base_channels=24)
    finished(video_vae, root/'video_vae', {}, size='tiny')
    finished(audio_vae, root/'audio_vae', dict(sample_rate=8000), width=8)
    VideoVAE(4, 8, 1, 1).save_pretrained(home/'diffusers')
    shutil.copytree(root/'tuned'/'model'/'adapter', home/'adapter')
    write_video(home/'clip.mp4', np.zeros((6, 32, 32, 3), np.uint8), preset='ultrafast')
    ends['clip'] = cached_frames(probe_once(home/'clip.mp4', home/'cache'), 4, folder=home/'cache')[:]
    return ends


# What is done to them.

DEEP, DIGITS = '@deep@', '@digits@'     # ten thousand brackets, five thousand digits
ODD = (None, [], {}, '', 0, -1, 3, 10**30, 10**400, -1e308, 1e308, 1e-320, float('nan'), float('inf'), True, False, 'x'*20000, 'é\u202e☃\n\0', '\ud800', '../../outside', '/etc/hostname',
       'no/where', '1e3', [[]], [None], {'': None}, {'step': 'x'}, [{}], DEEP, DIGITS)
TAGS = ('!!python/object/apply:os.system ["true"]', '!!python/name:os.system', '&a [*a, *a]', '!!binary "////"', '2001-01-01', '!!set {a, b}', '{a: b', '\t- x', '"\\ud800"', '!!float x', '1_000:60', '? [a]\n: b',
        '!!timestamp 2001-13-45', '0o9', '<<: 3', '*unknown', '!!int ""', '!!omap [a: 1]', '- 1\n- 2', '|', "'" + 'y'*2000)


def places(tree, path=()) -> Iterator[tuple]:
    "The path of every value in a tree."
    yield path
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for k, v in inside: yield from places(v, (*path, k))


def twisted(tree, rng: np.random.Generator):
    "A tree with values replaced, dropped, doubled or renamed."
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        every = list(places(tree))
        *up, last = every[int(rng.integers(len(every)))] or (None,)
        if last is None:
            if rng.random() < .1: return ODD[int(rng.integers(len(ODD)))]
            continue
        inside = tree
        for k in up: inside = inside[k]
        match int(rng.integers(10)):
            case 0: del inside[last]
            case 1 if isinstance(inside, list): inside.append(copy.deepcopy(inside[last]))
            case 1: inside['unknown'] = copy.deepcopy(inside[last])
            case 2 if isinstance(inside, dict): inside[str(ODD[int(rng.integers(len(ODD)))])[:300]] = inside.pop(last)
            case 3: inside[last] = [inside[last]]
            case 4: inside[last] = str(inside[last])[:5000]
            case _: inside[last] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    return tree


def spelled(text: str) -> bytes:
    return text.replace(json.dumps(DEEP), '['*10000 + ']'*10000).replace(DEEP, '['*10000 + ']'*10000).replace(json.dumps(DIGITS), '9'*5000).replace(DIGITS, '9'*5000).encode(errors='surrogatepass')


def json_twisted(whole: bytes, rng: np.random.Generator) -> bytes: return spelled(json.dumps(twisted(json.loads(whole), rng)))


def yaml_twisted(whole: bytes, rng: np.random.Generator) -> bytes:
    tree = yaml.safe_load(whole)
    if rng.random() < .6: return spelled(yaml.safe_dump(twisted(tree, rng), sort_keys=False))
    lines = whole.decode().splitlines()
    i = int(rng.integers(len(lines)))
    lines[i] = f'{lines[i].partition(":")[0]}: {TAGS[int(rng.integers(len(TAGS)))]}'
    return '\n'.join(lines).encode()


def tensors_twisted(whole: bytes, rng: np.random.Generator) -> bytes:
    "Another header, or a length of it that is not true, or numbers that are none."
    n = int.from_bytes(whole[:8], 'little')
    head, body = json.loads(whole[8:8 + n]), whole[8 + n:]
    match int(rng.integers(4)):
        case 0: return int(rng.choice([0, 1, n - 1, n + 1, 1 << 40, (1 << 63) - 1])).to_bytes(8, 'little') + whole[8:]
        case 1: return whole[:8 + n] + b'\xff'*len(body)
        case _: head = spelled(json.dumps(twisted(head, rng)))
    return len(head).to_bytes(8, 'little') + head + body


def rows_twisted(whole: bytes, rng: np.random.Generator) -> bytes:
    "Records that are cut, broken, huge, doubled, or of other types."
    lines = whole.splitlines()
    for _ in range(int(rng.choice([1, 2, 5]))):
        i = int(rng.integers(len(lines)))
        match int(rng.integers(8)):
            case 0: lines[i] = lines[i][:len(lines[i])//2]
            case 1: lines[i] = rng.bytes(30)
            case 2: lines[i] = b'{"kind": "train", "loss": "' + b'x'*(2 << 20) + b'"}'
            case 3: lines.insert(i, lines[i])
            case 4: lines[i] = b'\x00'*50
            case _:
                with contextlib.suppress(ValueError): lines[i] = json_twisted(lines[i], rng).replace(b'\n', b' ')
    return b'\n'.join(lines) + b'\n'*int(rng.random() < .8)


def replaced_by(path: Path, rng: np.random.Generator) -> str:
    "Something else in the place of a file."
    how = ('missing', 'empty', 'folder', 'link', 'dangling', 'loop', 'pipe', 'zeros')[int(rng.integers(8))]
    size = path.stat().st_size
    path.unlink()
    match how:
        case 'empty': path.write_bytes(b'')
        case 'folder': path.mkdir()
        case 'link': path.symlink_to('/etc/hostname')
        case 'dangling': path.symlink_to('nowhere')
        case 'loop': path.symlink_to(path.name)
        case 'pipe': os.mkfifo(path)
        case 'zeros': path.write_bytes(bytes(size))
    return how


def damage(path: Path, rng: np.random.Generator) -> str:
    "Change a file; how."
    if rng.random() < .12: return replaced_by(path, rng)
    was = path.read_bytes()
    kinds = {'.json': json_twisted, '.yaml': yaml_twisted, '.safetensors': tensors_twisted, '.jsonl': rows_twisted}
    twist = kinds.get(path.suffix)
    if twist and rng.random() < .7: now, how = twist(was, rng), twist.__name__
    else: now, how = damaged(was, rng) if was else b'\0', 'damaged'
    path.write_bytes(now)
    return how


def forged(path: Path) -> None:
    "The manifest of a folder made to fit what lies in it now."
    with contextlib.suppress(OSError): (path/'manifest.json').unlink()
    if not (path/'manifest.json').exists() and all(p.is_file() for p in path.rglob('*') if not p.is_dir()): checkpoint._seal(path)


def manifest_forged(path: Path, rng: np.random.Generator) -> None:
    "A manifest with other files, whose own sum is right."
    files = json.loads((path/'manifest.json').read_bytes())['files']
    name = sorted(files)[int(rng.integers(len(files)))]
    outside = ('../../../outside', '/etc/hostname', '', '.', 'x\0', 'n'*300, '\ud800', 'link', '..', 'manifest.json', 'sub/../model.safetensors')[int(rng.integers(11))]
    os.symlink('/etc/hostname', path/'link')
    match int(rng.integers(4)):
        case 0: files = twisted(files, rng)
        case 1: files[outside] = files.pop(name)
        case 2: del files[name]
        case 3: files[outside] = checkpoint._write(path/'.spare', b'x')
    try: (path/'manifest.json').write_bytes(checkpoint._manifest(files))
    except (AttributeError, TypeError, UnicodeEncodeError): (path/'manifest.json').write_bytes(spelled(json.dumps(dict(files=files, sha256='0'*64))))


# What is watched while it is read.

class Late(BaseException): "A case that takes too long."


def peak() -> int:
    "MB."
    line = next((x for x in Path('/proc/self/status').read_text().splitlines() if x.startswith('VmHWM')), '')
    return int(line.split()[1]) >> 10 if line else 0


def forget_peak() -> int:
    "MB that are held now."
    with contextlib.suppress(OSError): Path('/proc/self/clear_refs').write_text('5')
    return peak()


class Watch:
    "What is written outside a folder, and what is started, while it is on."
    def __init__(self):
        self.inside, self.seen = None, []
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple) -> None:
        if not self.inside: return
        if event in ('os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'pickle.find_class', 'socket.connect', 'socket.getaddrinfo'): self.seen.append(f'{event} {args[:1]}')
        elif event == 'subprocess.Popen' and args[0] != 'git': self.seen.append(f'{event} {args[1]}')
        elif event == 'open': self.look(event, args[0]) if isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else None
        elif event in ('os.mkdir', 'os.rmdir', 'os.remove', 'os.truncate', 'os.rename', 'os.link', 'os.symlink', 'shutil.rmtree'):
            within = event in ('os.remove', 'os.rmdir', 'os.mkdir') and args[-1] != -1       # of a folder that was looked at before
            for path in args[:0 if within else 2 if event in ('os.rename', 'os.link') else 1]: self.look(event, path)

    def look(self, event: str, path) -> None:
        if isinstance(path, int): return
        where = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path)))), '')
        if not where.startswith(self.inside) and where != '/dev/': self.seen.append(f'{event} {path}')


def is_own(e: Exception) -> bool:
    "Whether trainlab raised it, in its own words."
    if type(e) in OWN: return True
    last = traceback.extract_tb(e.__traceback__)[-1]
    return type(e) in (ValueError, FileNotFoundError) and Path(last.filename).is_relative_to(OURS) and 'raise' in (last.line or '')


def tried(f: Callable, names: list[str], verbose: bool = False) -> tuple[str, str]:
    "What came of it, and in which words."
    try:
        signal.setitimer(signal.ITIMER_REAL, MOST)
        wrong = f()
        return wrong or 'works', ''
    except Late: return 'HANG', ''.join(traceback.format_stack()[-3:])
    except Exception as e:
        if verbose: traceback.print_exc()
        text = str(e)
        if is_own(e): return ('refused' if any(n and n in text for n in names) else f'NAMELESS {type(e).__name__}'), text
        frame = next((x for x in reversed(traceback.extract_tb(e.__traceback__)) if Path(x.filename).is_relative_to(OURS)), None)
        return f'RAW {type(e).__name__} {Path(frame.filename).name}:{frame.lineno} {frame.name}' if frame else f'RAW {type(e).__name__}', text
    finally: signal.setitimer(signal.ITIMER_REAL, 0)


# Cases: each changes something under `home`, and gives what is to be tried, by name.

class Case:
    "One case: where it plays, its generator, and the names that an error may say."
    def __init__(self, home: Path, source: Path, ends: dict, rng: np.random.Generator, number: int):
        self.number = number
        self.home, self.source, self.ends, self.rng, self.what, self.names, self.forged = home, source, ends, rng, '', [], False
        self.root = home/'runs'

    def any(self, things): return list(things)[int(self.rng.integers(len(list(things))))]

    def take(self, *names: str) -> None:
        for n in names:
            there = self.home/n
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(self.source/n, there) if (self.source/n).is_dir() else shutil.copy(self.source/n, there)

    def hurt(self, path: Path) -> None:
        self.names = [path.name, *(p for p in (path.parent.name, path.parent.parent.name) if p)]
        self.what = f'{path.relative_to(self.home)} {damage(path, self.rng)}'

    def seal(self, folder: Path, share: float = .6) -> None:
        if self.rng.random() < share and (folder/'manifest.json').exists() and 'manifest' not in self.what: forged(folder); self.forged, self.what = True, self.what + ' forged'


def settings(c: Case):
    system = c.any((vsr, video_vae, audio_vae, tiny))
    tree = configure(system.config, dict(phases=c.any(([], [dict(name='a', steps=3), dict(name='b', transition='epoch', epochs=2.)])))).model_dump(mode='json')
    some = {k: tree[k] for k in tree if c.rng.random() < .2} | {c.any(tree): copy.deepcopy(c.any(ODD))}
    values = twisted(some, c.rng)
    values = values if isinstance(values, dict) else {'values': values}
    c.names, c.what = [repr(k)[1:-1][:50] for k in values] + ['phase', 'Phase', *system.config.model_fields], json.dumps(values)[:200]
    def told():
        cfg = configure(system.config, values)
        table(cfg), cfg.model_dump_json(), cfg.plan(dict(items=10, clips=10, videos=10) | {k: 10 for p in cfg.curriculum.phases for k in p.shapes})
        run = Run(cfg.model_copy(update=dict(root=str(c.root)))); run.yaml()
        with run.open({}, 'cpu', system.name): run.note(x=1)
        if not Run(run.config).info['config'] or read_yaml(run.path/'config.yaml') != yaml.safe_load(run.yaml()): return 'LOST the config'
    def given():
        cell = '# Parameters\n' + '\n'.join(f'{k} = 0' for k in values if k.isidentifier() and not iskeyword(k))
        parameters(system.config, dict(values, In=[cell]))
    return dict(told=told, given=given)


def files(c: Case):
    system, preset = c.any(((vsr, 'space_7'), (video_vae, 'video_vae_three_phases'), (audio_vae, 'audio_vae_music'), (video_vae, 'video_vae_plateau')))
    path = c.home/f'{preset}.yaml'
    path.write_bytes((Path(__file__).parent.parent/'nbs'/'presets'/f'{preset}.yaml').read_bytes())
    c.hurt(path); c.names += ['phase', 'Phase', *system.config.model_fields, 'is no parameter']
    return dict(read=lambda: configure(system.config, read_yaml(path)) and None, curriculum=lambda: Curriculum.from_yaml(path) and None)


def models(c: Case):
    name, system = c.any(dict(vsr=vsr, video_vae=video_vae, audio_vae=audio_vae, tuned=tiny).items())
    c.take(f'runs/{name}')
    home = c.root/name
    if c.rng.random() < .15: manifest_forged(home/'model', c.rng); c.what, c.names = f'{name}/model/manifest.json forged', [name, 'manifest.json']
    else:
        c.hurt(c.any([home/'run.json', *(p for p in sorted((home/'model').rglob('*')) if p.is_file() and p.name != 'README.md')]))
        if 'run.json' not in c.what: c.seal(home/'model', .8)
    c.names += [name, *system.config.model_fields]
    def loaded(): system.load(home, 'cpu')
    def found(): load(home, 'cpu')
    def weighed(): w = Weights(home); w.kind, w.config(), w.system, w.tensors(), repr(w), whole_model(home)
    def again(): tiny.train(told(c.root, name='next', init_from=str(home), steps=1))
    return dict(loaded=loaded, found=found, weighed=weighed) | (dict(again=again) if system is tiny and c.rng.random() < .5 else {})


def read_all(home: Path) -> None:
    "All that may be read of a run."
    run = run_at(home)
    run.info, run.chapters, run.finished, repr(run), run.remembered(), run.turned_at(8), run.checkpoints.newest(set_aside=False)
    for kind in ('train', 'valid', 'mark', 'chapter', 'data'): run.records(kind)
    run.scores()
    run.previews()._repr_html_()


def heavy(c: Case, name: str) -> dict:
    "One of the things that take a while."
    home, ends = c.root/name, 'half' if name == 'half' else 'trunk'
    def resumed():
        run = tiny.train(told(c.root, name=name))
        if run.checkpoints.steps()[-1] == 12 and not c.forged and not same(weights(run), c.ends[ends]): return 'OTHER weights'
        if not run.finished or not whole_model(run): return 'UNFINISHED'
        tiny.load(run, 'cpu')
    def back():
        run = tiny.train(told(c.root, name=name, resume_from=4))
        if not c.forged and not same(weights(run), c.ends[ends]): return 'OTHER weights'
    def forked():
        run = tiny.train(told(c.root, name='fork', fork_from=f'{home}@8', steps=14))
        if not c.forged and not same(weights(run), c.ends['fork']): return 'OTHER weights'
    def begun(): tiny.train(told(c.root, name='next', init_from=str(home), steps=1))
    def again():
        r = replay(home, 5, 8)
        repr(r)
        if not c.forged and not any(x in c.what for x in ('metrics', 'run.json')) and r.equal != 3: return 'OTHER losses'
    tasks = dict(resumed=resumed, back=back, forked=forked, begun=begun, again=again)
    some = c.any(['resumed']*5 + ['back', 'forked', 'forked', 'begun', 'again', 'again'])
    return {some: tasks[some]}


def run(c: Case, suffixes: tuple = ()) -> dict:
    name = c.any(('half', 'half', 'trunk'))
    c.take(f'runs/{name}')
    home = c.root/name
    steps = sorted((home/'checkpoints').glob('step_*'))
    newest = steps[-1] if c.rng.random() < .7 else c.any(steps)
    top = [p for p in (home/'run.json', home/'metrics.jsonl', home/'config.yaml', *home.glob('previews/*/*.png')) if p.is_file()]
    inside = sorted(newest.iterdir())
    match c.any(('top', 'top', 'state', 'inside', 'inside', 'inside', 'manifest', 'names', 'rows')):
        case 'top': c.hurt(c.any([top[0], *top]))
        case 'rows': c.hurt(home/'metrics.jsonl')
        case 'state': c.hurt(newest/'state.json'); c.seal(newest, 1)
        case 'inside': c.hurt(c.any(inside)); c.seal(newest)
        case 'manifest': manifest_forged(newest, c.rng); c.forged, c.what, c.names = True, f'{newest.name}/manifest.json forged', ['manifest.json', newest.name]
        case 'names':
            odd = c.any(('step_', 'step_²', 'step_x', 'step_-1', 'step_00000099', 'step_' + '9'*30, 'step_٣', 'bad', 'later', '.saving_x'))
            place = c.any((home/'checkpoints', home/'previews'))
            c.what, c.names = f'{place.name}/{odd}', [odd, 'checkpoints']
            c.any((lambda p: p.mkdir(), lambda p: p.write_bytes(b'x'), lambda p: p.symlink_to('nowhere'), lambda p: p.symlink_to(p.name)))(place/odd)
    if c.rng.random() < .1: (c.root/f'.{name}.holder.json').write_text(c.any(('', '[]', '{"pid": []}', '{')))
    c.names += [name, 'fork', 'as valid says']
    tasks = dict(read=lambda: read_all(home), listed=lambda: runs(c.root) is None and None, tree=lambda: runs(c.root, tree=True) is None and None,
                 moment=lambda: at(home, 5).samples is None and None)
    if c.rng.random() < .15: tasks['curves'] = lambda: run_at(home).curves() is None and None
    return tasks | heavy(c, name)


def adapters(c: Case):
    c.take('adapter')
    c.hurt(c.any(sorted(p for p in (c.home/'adapter').iterdir() if p.suffix in ('.json', '.safetensors'))))
    cfg = told(c.root)
    c.names += ['adapter', 'trunk']
    return dict(put=lambda: load_adapter(smoother(cfg, {}), c.home/'adapter') and None, begun=lambda: start(smoother(cfg, {}), str(c.home/'adapter')),
                said=lambda: Weights(c.home/'adapter').config() and None)


def diffusers(c: Case):
    c.take('diffusers')
    c.hurt(c.any(sorted((c.home/'diffusers').iterdir())))
    return dict(read=lambda: VideoVAE.from_pretrained(c.home/'diffusers') and None, kind=lambda: Weights(c.home/'diffusers').config() and None)


def cache(c: Case):
    c.take('cache', 'clip.mp4')
    os.utime(c.home/'clip.mp4', ns=((c.source/'clip.mp4').stat().st_mtime_ns,)*2)
    path = c.any([*sorted((c.home/'cache'/'index').iterdir()), *sorted((c.home/'cache').glob('*.npy'))])
    c.hurt(path); c.names += ['clip.mp4', 'cache']
    if path.parent.name == 'index' and path.is_file() and c.rng.random() < .7:
        was = (c.source/'cache'/'index'/path.name).read_bytes()[8:]
        head, _, numbers = was.partition(b'\n')
        data = b'\n'.join([json_twisted(head, c.rng).replace(b'\n', b' '), numbers[:int(c.rng.choice([len(numbers), 0, 7, 16]))]])
        path.write_bytes(b'%08x' % zlib.crc32(data) + data); c.what, c.forged = f'index {json.dumps(head.decode())[:40]} forged', True
    def read():
        x = cached_frames(probe_once(c.home/'clip.mp4', c.home/'cache'), 4, folder=c.home/'cache')[:]
        if not c.forged and not np.array_equal(x, c.ends['clip']): return 'OTHER frames'
    return dict(read=read)


def sparse(path: Path, size: int) -> None:
    "A file that promises much and takes no room."
    path.unlink(missing_ok=True)
    with path.open('wb') as f: f.truncate(size)


def bombs(c: Case) -> dict:
    "Files of gigabytes in the place of small ones, one a case."
    c.take('runs/half', 'runs/tuned', 'adapter', 'diffusers')
    home, newest, places = c.root/'half', c.root/'half'/'checkpoints'/'step_00000008', {}
    places |= {p: f'half {p.name}' for p in (home/'run.json', home/'metrics.jsonl', home/'config.yaml', *sorted(newest.iterdir()))}
    places |= {p: f'tuned {p.name}' for p in sorted((c.root/'tuned'/'model').iterdir()) if p.is_file()}
    places |= {p: f'{p.parent.name} {p.name}' for n in ('adapter', 'diffusers') for p in sorted((c.home/n).iterdir()) if p.suffix != '.md'}
    path = list(places)[c.number % len(places)]
    sparse(path, (1 << 28) if path.suffix == '.jsonl' else 2 << 30)     # records are read to their end
    c.what, c.names = places[path], [path.name, path.parent.name, places[path].split()[0]]
    match places[path].split()[0]:
        case 'half': return dict(read=lambda: read_all(home), listed=lambda: runs(c.root) is None and None) | heavy(c, 'half')
        case 'tuned': return dict(loaded=lambda: tiny.load(c.root/'tuned', 'cpu') and None, whole=lambda: whole_model(c.root/'tuned') and None)
        case 'adapter': return dict(put=lambda: load_adapter(smoother(None, {}), c.home/'adapter') and None, said=lambda: Weights(c.home/'adapter').config() and None)
        case _: return dict(read=lambda: VideoVAE.from_pretrained(c.home/'diffusers') and None, kind=lambda: Weights(c.home/'diffusers').config() and None)


KINDS = [settings]*4 + [files]*2 + [models]*4 + [run]*9 + [adapters]*2 + [diffusers] + [cache]


def play(k: int, seed: int, home: Path, source: Path, ends: dict, watch: Watch, verbose: bool) -> dict:
    "One case."
    rng, kind = np.random.default_rng([seed, abs(k)]), KINDS[k % len(KINDS)] if k >= 0 else bombs
    shutil.rmtree(home, ignore_errors=True); (home/'scratch').mkdir(parents=True)
    (home/'data').symlink_to(source/'data')
    c, begun = Case(home, source, ends, rng, k), time.perf_counter()
    tasks, said = kind(c), {}
    faulthandler.dump_traceback_later(5*MOST, exit=True)     # what no alarm interrupts
    before = forget_peak()
    for name, f in tasks.items():
        since = time.perf_counter()
        with warnings.catch_warnings(record=True), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('always')
            watch.inside, watch.seen[:] = str(home) + os.sep, []
            result, words = tried(f, c.names, verbose)
            watch.inside = None
        if watch.seen: result = f'OUTSIDE {watch.seen[:3]}'
        took = round(time.perf_counter() - since, 2)
        said[name] = [result, took] + ([words[:400]] if result.split()[0] not in ('works',) else [])
    faulthandler.cancel_dump_traceback_later()
    return dict(case=k, kind=kind.__name__, what=c.what.encode(errors='replace').decode()[:200], said=said, seconds=round(time.perf_counter() - begun, 2), mb=peak() - before)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('first', type=int); p.add_argument('last', type=int); p.add_argument('--seed', type=int, default=1); p.add_argument('-v', action='store_true')
    opt = p.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    def late(*_): raise Late
    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as place:
        place = Path(place).resolve()
        os.environ |= dict(TRAINLAB_CACHE=str(place/'case'/'cache'), HF_HUB_OFFLINE='1', HF_HOME=str(place/'hub'))
        with contextlib.redirect_stdout(io.StringIO()): ends = whole(place/'whole')
        (place/'case'/'scratch').mkdir(parents=True)
        tempfile.tempdir = str(place/'case'/'scratch')
        watch = Watch()
        for k in range(opt.first, opt.last):
            print(json.dumps(play(k, opt.seed, place/'case', place/'whole', ends, watch, opt.v)), flush=True)
        tempfile.tempdir = None


if __name__ == '__main__': main()
