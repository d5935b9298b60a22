"""Processes on several mounts change one directory: python3 directory.py COUNT MOUNT...

Two processes on each MOUNT make, rename, link and remove COUNT files of their own in one directory,
and try to make COUNT files and directories that all of them want. Prints "ok" when each of the
latter was made by one process, and every mount lists what must be there with the right contents.
"""

import os
import sys

COUNT, MOUNTS = int(sys.argv[1]), sys.argv[2:]
WORKERS = 2 * len(MOUNTS)
NAME = 'one directory'


def make(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def own(worker, i):
    """The names that worker leaves of its file i, and its contents."""
    name = f'file {worker} {i}'
    names = [] if i % 3 == 0 else [f'{name} renamed']
    return name, names + ([f'{name} linked'] if i % 5 == 0 else []), f'{worker}, {i}\n' * (i % 40)


def work(worker, mount, wins):
    os.chdir(os.path.join(mount, NAME))
    for i in range(COUNT):
        name, _, text = own(worker, i)
        make(name, text)
        if i % 5 == 0:
            os.link(name, f'{name} linked')
        os.rename(name, f'{name} renamed')
        if i % 3 == 0:
            os.unlink(f'{name} renamed')
        for kind, attempt in (('file', lambda p: make(p, str(worker))), ('directory', os.mkdir)):
            try:
                attempt(f'wanted {kind} {i}')
                os.write(wins, f'{kind} {i} {worker}\n'.encode())
            except FileExistsError:
                pass


os.mkdir(os.path.join(MOUNTS[0], NAME))
reader, writer = os.pipe()
for worker in range(WORKERS):
    if os.fork() == 0:
        os.close(reader)
        try:
            work(worker, MOUNTS[worker % len(MOUNTS)], writer)
        except BaseException as error:
            os.write(writer, f'failed {worker} {error!r}\n'.encode())
        os._exit(0)
os.close(writer)
wins = [line.split(' ', 2) for line in os.fdopen(reader).read().splitlines()]
won = sorted((kind, int(i)) for kind, i, _ in wins)
if won != sorted((kind, i) for kind in ('file', 'directory') for i in range(COUNT)):
    sys.exit(f'the winners are not one for each name: {wins}')
texts = {f'wanted file {i}': winner for kind, i, winner in wins if kind == 'file'}
names = set(texts) | {f'wanted directory {i}' for i in range(COUNT)}
for worker in range(WORKERS):
    for i in range(COUNT):
        _, left, text = own(worker, i)
        names |= set(left)
        texts |= {name: text for name in left}
for mount in MOUNTS:
    directory = os.path.join(mount, NAME)
    listed = os.listdir(directory)
    if len(listed) != len(names) or set(listed) != names:
        sys.exit(f'{mount}: {len(listed)} names, {set(listed) ^ names} differ')
    for name, text in texts.items():
        with open(os.path.join(directory, name)) as file:
            if file.read() != text:
                sys.exit(f'{mount}: {name} has other contents')
    links = os.stat(directory).st_nlink
    if links != 2 + COUNT:
        sys.exit(f'{mount}: {links} links of the directory')
print('ok')
