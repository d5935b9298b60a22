"""Makes a tree of files: python3 tree.py DIRECTORY FILES SEED

A hundred files a directory, of 0 to 16 KiB, one of them in a thousand of 1 MiB; links of both
kinds, FIFOs, and names, modes and times of all sorts.
"""

import os
import random
import sys

DIRECTORY, FILES = sys.argv[1], int(sys.argv[2])
RANDOM = random.Random(int(sys.argv[3]))
BYTES = RANDOM.randbytes(1 << 20)

os.mkdir(DIRECTORY)
os.chdir(DIRECTORY)
for i in range(FILES):
    directory = f'{i // 2000}/{i // 100 % 20}'
    if i % 100 == 0:
        os.makedirs(directory)
    name = f'{directory}/{i}' + ' \u00e4\u2713' * (i % 3) + 'x' * RANDOM.randrange(60)
    size = len(BYTES) if i % 1000 == 500 else RANDOM.randrange(16384) >> RANDOM.randrange(6)
    start = RANDOM.randrange(len(BYTES) - size + 1)
    with open(name, 'wb') as file:
        file.write(BYTES[start : start + size])
    os.chmod(name, RANDOM.choice((0o644, 0o755, 0o600, 0o4711, 0o440)))
    os.utime(name, ns=(0, RANDOM.randrange(2**60)))
    if i % 50 == 7:
        os.link(name, f'{name}-linked')
    if i % 50 == 8:
        os.symlink('x' * RANDOM.randrange(1, 200), f'{directory}/symlink{i}')
    if i % 500 == 9:
        os.mkfifo(f'{directory}/fifo{i}')
