"""What fsync has acknowledged: python3 writers.py write|check DIRECTORY LOG SEED

`write` changes the files of DIRECTORY without end, and has all of it synced. Before each change it
writes a line to LOG, which must be outside, and another one when the change was acknowledged. A
change that fails is neither there nor not; it goes on with the next one. SIGTERM ends it between
two changes. When it is started again it goes on with LOG.

`check` compares DIRECTORY with LOG: what was acknowledged must be there, with the right contents
and no others. Prints "ok" and the number of acknowledged changes.
"""

import os
import random
import signal
import sys
import time

ACTION, DIRECTORY, LOG, SEED = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]
SLOTS, SLOT_BYTES = 64, 4096
FILES_MAX = 40
AWAY_SECONDS = 0.02


def contents(*names):
    """The contents that something has, which depend on its names alone."""
    source = random.Random(f'{SEED} {names}')
    return source.randbytes(source.randrange(200_000) >> source.randrange(12))


def slot_contents(version):
    return (b'%d ' % version * SLOT_BYTES)[:SLOT_BYTES]


class State:
    """What LOG says: of each thing the versions that it may have, of which one was acknowledged."""

    def __init__(self):
        self.number = 0
        self.acknowledged = 0
        # File -> whether it must be there; None if nobody knows.
        self.files = {}
        # What is overwritten -> the version that is there at least.
        self.least = {}
        self.lines = []
        # The change that was begun last.
        self.open = None
        if os.path.exists(LOG):
            with open(LOG) as log:
                for line in log:
                    self.take(*line.split())

    def take(self, what, kind, name, number):
        number = int(number)
        self.number = max(self.number, number)
        if what == 'ok':
            self.acknowledged += 1
        if kind in ('make', 'remove'):
            self.files[name] = None if what == 'try' else (kind == 'make')
            if what == 'ok' and kind == 'remove':
                del self.files[name]
                self.files[name] = False
        elif kind == 'append':
            if what == 'ok':
                self.lines.append(number)
        elif what == 'ok':
            self.least[name] = number


class Writer:
    def __init__(self):
        self.state = State()
        self.log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.random = random.Random(f'{SEED} {self.state.number} {time.time_ns()}')
        self.is_ending = False
        self.open_files = {}
        signal.signal(signal.SIGTERM, self.end)

    def end(self, *_):
        self.is_ending = True

    def tell(self, what, kind, name, number):
        os.write(self.log, f'{what} {kind} {name} {number}\n'.encode())
        self.state.take(what, kind, name, number)

    def run(self):
        while not self.is_ending:
            kind = self.random.choice(('make', 'replace', 'slot', 'slot', 'append', 'synced'))
            name = kind
            if kind == 'make':
                name = f'f{self.state.number + 1}'
                present = [one for one, there in self.state.files.items() if there]
                if len(present) > FILES_MAX:
                    kind, name = 'remove', present[0]
            elif kind in ('slot', 'synced'):
                name = f'{kind}-{self.random.randrange(SLOTS)}'
            change = (kind, name, self.state.number + 1)
            self.tell('try', *change)
            try:
                getattr(self, kind)(name, change[2])
            except OSError:
                # The server or the mount is away, or was; everything is opened anew.
                self.close()
                time.sleep(AWAY_SECONDS)
            else:
                self.tell('ok', *change)
        self.close()

    def close(self):
        for descriptor in self.open_files.values():
            try:
                os.close(descriptor)
            except OSError:
                pass
        self.open_files = {}

    def opened(self, name, flags):
        if name not in self.open_files:
            self.open_files[name] = os.open(f'{DIRECTORY}/{name}', flags, 0o644)
        return self.open_files[name]

    def sync_directory(self):
        # Not kept open, since it is another one after the mount has come back.
        descriptor = os.open(DIRECTORY, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def put(self, path, data):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            for at in range(0, len(data), 30_000):
                os.write(descriptor, data[at : at + 30_000])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make(self, name, number):
        self.put(f'{DIRECTORY}/{name}', contents(name))
        self.sync_directory()

    def remove(self, name, number):
        os.unlink(f'{DIRECTORY}/{name}')
        self.sync_directory()

    def replace(self, name, number):
        self.put(f'{DIRECTORY}/{name}.{number}', contents(name, number))
        os.rename(f'{DIRECTORY}/{name}.{number}', f'{DIRECTORY}/{name}')
        self.sync_directory()

    def slot(self, name, number, flags=0):
        kind, index = name.split('-')
        file = self.opened(f'{kind}s', os.O_RDWR | os.O_CREAT | flags)
        os.pwrite(file, slot_contents(number), int(index) * SLOT_BYTES)
        if flags == 0:
            os.fdatasync(file)

    def synced(self, name, number):
        self.slot(name, number, os.O_SYNC)

    def append(self, name, number):
        file = self.opened('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f'{number}\n'.encode())
        os.fsync(file)


def read(name):
    try:
        with open(f'{DIRECTORY}/{name}', 'rb') as file:
            return file.read()
    except FileNotFoundError:
        return None


def problems(state):
    for name, there in state.files.items():
        data = None if there is None else read(name)
        if there is True and data != contents(name):
            yield f'{name}: {"missing" if data is None else "wrong contents"}'
        if there is False and data is not None:
            yield f'{name} is there again'
    for name, least in state.least.items():
        versions = range(least, state.number + 1)
        if name == 'replace':
            data = read(name)
            if data is None or all(data != contents(name, one) for one in versions):
                yield f'{name} is not as of {least} or later'
        else:
            kind, index = name.split('-')
            at = int(index) * SLOT_BYTES
            data = (read(f'{kind}s') or b'')[at : at + SLOT_BYTES]
            version = data.split(b' ')[0]
            whole = version.isdigit() and data == slot_contents(int(version))
            if not whole or int(version) not in versions:
                yield f'{name}: {version[:20]} in place of {least} or later'
    lines = [int(line) for line in (read('log') or b'').split()]
    if lines != sorted(set(lines)):
        yield 'the log has lines twice or in another order'
    missing = set(state.lines) - set(lines)
    if missing:
        yield f'the log has lost {sorted(missing)}'


if ACTION == 'write':
    Writer().run()
else:
    state = State()
    wrong = list(problems(state))
    print('\n'.join(wrong) if wrong else f'ok {state.acknowledged}')
    sys.exit(1 if wrong else 0)
