"""Damaged and forged files of runs, models, adapters, configs and caches: they are read, or one of trainlab's errors says which.

    pytest tests/test_fuzz_files.py              # a sample
    pytest tests/test_fuzz_files.py -m slow -s   # 1,500 cases
    python tests/test_fuzz_files.py 0 300        # some of them, summed up
"""
import json, os, subprocess, sys
from collections import Counter
from pathlib import Path
import pytest

SCRIPT = Path(__file__).with_name('fuzz_files.py')
SLOWEST, ROOM = 10, 1000     # seconds, MB beyond what is held before a case


def fuzzed(first: int, last: int, seed: int) -> list[dict]:
    "What came of each case; one in which the process died, or did not end, is told as such, and the next one follows."
    rows, env = [], {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    while first < last:
        done = subprocess.run([sys.executable, SCRIPT, '--seed', str(seed), '--', str(first), str(last)], env=env, capture_output=True, text=True, errors='replace')
        found = [json.loads(line) for line in done.stdout.splitlines()]
        rows += found
        assert found or not done.returncode or 'Timeout' in done.stderr or 'Fatal' in done.stderr, done.stderr[-3000:]
        first += len(found)
        if first < last:
            rows.append(dict(case=first, kind='?', what='', said=dict(process=[f'DIED {done.returncode}', 0, done.stderr[-600:]]), seconds=0, mb=0))
            first += 1
    return rows


def bad(row: dict) -> list:
    "What a case came to that it must not."
    return [(name, *said) for name, said in row['said'].items() if said[0] not in ('works', 'refused')]


def told(rows: list[dict], seed: int) -> str:
    every = Counter(said[0].split()[0] for r in rows for said in r['said'].values())
    slow, large = max(rows, key=lambda r: r['seconds']), max(rows, key=lambda r: r['mb'])
    return (f'{len(rows)} cases of seed {seed}, what came of them by reading: {dict(every)}; {sum(map(bool, map(bad, rows)))} with something wrong; longest {slow["seconds"]} s (case {slow["case"]}), '
            f'memory {large["mb"]} MB (case {large["case"]})')


def checked(first: int, last: int, seed: int) -> None:
    rows = fuzzed(first, last, seed)
    print(told(rows, seed))
    wrong = [f'python tests/fuzz_files.py {r["case"]} {r["case"] + 1} --seed {seed} -v\n    {r["what"]}\n    {bad(r)}' for r in rows if bad(r)]
    assert not wrong, f'{len(wrong)} of {len(rows)} cases:\n' + '\n'.join(wrong[:20])
    assert [r['case'] for r in rows] == list(range(first, last))
    assert max(s[1] for r in rows for s in r['said'].values()) < 3*SLOWEST and max(r['mb'] for r in rows) < ROOM


def test_damaged_and_forged_files_sample(): checked(-17, 69, 1)     # 17 of gigabytes


@pytest.mark.slow
def test_damaged_and_forged_files(): checked(0, 1500, 2)


if __name__ == '__main__':
    first, last, seed = map(int, (*sys.argv[1:3], *(sys.argv[3:4] or [2])))
    rows = fuzzed(first, last, seed)
    print('\n'.join(json.dumps(r) for r in rows)); print(told(rows, seed), file=sys.stderr)
