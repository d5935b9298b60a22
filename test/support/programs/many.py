"""How times grow with files: python3 many.py DIRECTORY FILES A_DIRECTORY

Makes FILES empty files, A_DIRECTORY of them in each directory, or all in one if that is 0; and lists
them when half of them are there, and all. A stat of some in each part says that they are there.
Writes a JSON document: the seconds for making each half, and for each list.
"""

import json
import os
import random
import sys
import time

TREE, FILES, A_DIRECTORY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
RANDOM = random.Random(1)


def path_of(i):
    return f'{TREE}/{i // A_DIRECTORY}/{i}' if A_DIRECTORY else f'{TREE}/name {i}'


def make(start, end):
    begin = time.monotonic()
    for i in range(start, end):
        if A_DIRECTORY and i % A_DIRECTORY == 0:
            os.mkdir(f'{TREE}/{i // A_DIRECTORY}')
        os.mknod(path_of(i), 0o100644)
    for i in RANDOM.sample(range(end), 100):
        assert os.stat(path_of(i)).st_size == 0
    return time.monotonic() - begin


def count(wanted):
    begin = time.monotonic()
    found = set()
    directories = [TREE]
    while directories:
        with os.scandir(directories.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    number = int(entry.name.split(' ')[-1])
                    assert number not in found
                    found.add(number)
    assert found == set(range(wanted)), f'{len(found)} found, {wanted} wanted'
    return time.monotonic() - begin


os.mkdir(TREE)
half = FILES // 2
times = {'make': [make(0, half)], 'list': [count(half)]}
times['make'].append(make(half, FILES))
times['list'].append(count(FILES))
print(json.dumps(times))
