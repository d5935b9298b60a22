"""Processes write to one SQLite database: python3 database.py MODE TRANSACTIONS PATH...

One process for each PATH, by which it reaches the database, keeps its connection for TRANSACTIONS
transactions. Each adds 1 to a sum and inserts a row; one in seven is rolled back. Prints "ok" when
the sum and the rows are right and the integrity check finds nothing.
"""

import os
import sqlite3
import sys

MODE, TRANSACTIONS, PATHS = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
KEPT = sum(i % 7 != 3 for i in range(TRANSACTIONS))


def connect(path):
    return sqlite3.connect(path, timeout=120, isolation_level=None)


def write(worker, path):
    db = connect(path)
    for i in range(TRANSACTIONS):
        db.execute('BEGIN IMMEDIATE')
        (total,) = db.execute('SELECT n FROM sums').fetchone()
        db.execute('UPDATE sums SET n = ?', (total + 1,))
        text = f'{worker} {i} ' * (1 + i * 37 % 200)
        db.execute('INSERT INTO lines VALUES (?, ?, ?)', (worker, i, text))
        db.execute('ROLLBACK' if i % 7 == 3 else 'COMMIT')
    db.close()


db = connect(PATHS[0])
assert db.execute(f'PRAGMA journal_mode={MODE}').fetchone()[0].upper() == MODE
db.execute('CREATE TABLE lines (worker, i, text)')
db.execute('CREATE INDEX by_text ON lines (text)')
db.execute('CREATE TABLE sums (n)')
db.execute('INSERT INTO sums VALUES (0)')
db.close()
children = []
for worker, path in enumerate(PATHS):
    pid = os.fork()
    if pid == 0:
        write(worker, path)
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
for path in set(PATHS):
    db = connect(path)
    check = db.execute('PRAGMA integrity_check').fetchall()
    sums = db.execute('SELECT n FROM sums').fetchall()
    lines = db.execute('SELECT count(*), count(DISTINCT text) FROM lines').fetchall()
    db.close()
    wanted = len(PATHS) * KEPT
    found = (codes, check, sums, lines)
    right = ([0] * len(PATHS), [('ok',)], [(wanted,)], [(wanted, wanted)])
    if found != right:
        sys.exit(f'{path}: {found}, not {right}')
print('ok')
