// What a session knows beyond one connection: what is kept until when, and what may be resumed.
import { describe, expect, it } from 'vitest';
import { KEPT_BYTES_MAX, Ledger } from '../../../src/proxies/ledger.ts';
import { Lane } from '../../../src/proxies/transport.ts';

const KIB = 1024;

/** A ledger, and the letters of what was released. */
class Book {
  readonly ledger = new Ledger(7, { peerIncarnation: 9n, canResume: true });
  released = '';

  /** One frame with a name; the transport is done with it when the function is called. */
  send(name: string, lane: Lane = Lane.URGENT, bytes = KIB): () => void {
    this.ledger.next(lane);
    return this.ledger.keep(lane, new Uint8Array(bytes).fill(name.charCodeAt(0)), () => {
      this.released += name;
    });
  }

  replayed(): string {
    let text = '';
    this.ledger.replay((bytes, done, lane) => {
      text += String.fromCharCode(bytes[0] ?? 0).repeat(lane === Lane.BULK ? 2 : 1);
      done();
    });
    return text;
  }
}

describe('what is kept', () => {
  it('is given back when the peer has it and no transport reads it', () => {
    const book = new Book();
    const done = ['a', 'b', 'c'].map((name) => book.send(name));

    done[0]?.();
    expect(book.released).toBe('');
    book.ledger.acknowledge([2, 0]);
    expect(book.released).toBe('a');
    done[1]?.();
    done[2]?.();

    expect(book.released).toBe('ab');
    expect(book.replayed()).toBe('c');
  });

  it('is of no more frames than the peer has not acknowledged, in each lane', () => {
    const book = new Book();
    for (const name of 'abc') book.send(name)();
    for (const name of 'xyz') book.send(name, Lane.BULK)();

    book.ledger.acknowledge([1, 2]);

    expect(book.replayed()).toBe('bczz');
    expect(book.released).toBe('axy');
  });

  it('fills a lane, and leaves the other one open', () => {
    const book = new Book();
    const { ledger } = book;
    for (let i = 0; i < KEPT_BYTES_MAX / (64 * KIB); i++) book.send('a', Lane.BULK, 64 * KIB)();

    expect([ledger.isFull(Lane.URGENT), ledger.isFull(Lane.BULK)]).toEqual([false, true]);
    ledger.acknowledge([0, 1]);
    expect(ledger.isFull(Lane.BULK)).toBe(false);
  });

  it('is given back when the session is over, and nothing is kept after that', () => {
    const book = new Book();
    const late = book.send('a');

    book.ledger.drop();
    expect(book.released).toBe('');
    late();
    book.send('b')();

    expect(book.released).toBe('ab');
    expect(book.ledger.canResume).toBe(false);
  });
});

describe('a word of the peer', () => {
  it('that acknowledges what was not sent is refused, and a late one is nothing new', () => {
    const book = new Book();
    for (const name of 'abc') book.send(name)();

    expect(book.ledger.acknowledge([4, 0])).toBe(false);
    expect(book.ledger.acknowledge([1, 1])).toBe(false);
    expect(book.ledger.acknowledge([1])).toBe(false);
    expect(book.released).toBe('');
    expect(book.ledger.acknowledge([2, 0])).toBe(true);
    expect(book.ledger.acknowledge([1, 0])).toBe(true);

    expect(book.released).toBe('ab');
  });

  it('counts on beyond the end of the numbers', () => {
    const book = new Book();
    for (let i = 0; i < 5; i++) book.ledger.take(Lane.URGENT, i, 1);

    expect(book.ledger.take(Lane.URGENT, 4, 1)).toBeGreaterThan(0x7fff_ffff);
    expect(book.ledger.take(Lane.URGENT, 6, 1)).toBe(1);
    expect(book.ledger.taken).toEqual([5, 0]);
  });

  it('is due for what was taken: at once for much of it, at the tick for any', () => {
    const { ledger } = new Book();

    expect(ledger.owesWord('at the tick')).toBe(false);
    ledger.take(Lane.URGENT, 0, 208);
    expect([ledger.owesWord('now'), ledger.owesWord('at the tick')]).toEqual([false, true]);
    ledger.take(Lane.BULK, 0, 1024 * KIB);
    expect(ledger.owesWord('now')).toBe(true);
    ledger.noteTold();

    expect(ledger.owesWord('at the tick')).toBe(false);
  });
});

describe('a session', () => {
  it('goes on where the peer has come to, and not before what it once acknowledged', () => {
    const book = new Book();
    for (const name of 'abcd') book.send(name)();
    book.ledger.acknowledge([2, 0]);

    expect(book.ledger.resume([1, 0])).toBe(false);
    expect(book.ledger.resume([5, 0])).toBe(false);
    expect(book.ledger.resume([3, 0])).toBe(true);

    expect(book.replayed()).toBe('d');
  });

  it('goes on however often what it sends again is lost', () => {
    const book = new Book();
    book.send('a')();

    for (let i = 0; i < 50; i++) {
      expect(book.ledger.resume([0, 0])).toBe(true);
      expect(book.replayed()).toBe('a');
    }

    expect(book.ledger.canResume).toBe(true);
  });

  it('goes on no more when five connections ended over what is kept in a lane', () => {
    const book = new Book();
    book.send('a', Lane.BULK)();
    book.send('b', Lane.BULK)();

    for (let i = 0; i < 8; i++) {
      expect(book.ledger.canResume).toBe(true);
      if (i === 3) book.ledger.acknowledge([0, 1]);
      book.ledger.noteSilence();
    }

    expect(book.ledger.canResume).toBe(false);
  });

  it('goes on no more when five connections ended over what came in a lane', () => {
    const { ledger } = new Book();

    for (let i = 0; i < 8; i++) {
      expect(ledger.canResume).toBe(true);
      if (i === 3) ledger.take(Lane.BULK, 0, KIB);
      ledger.take(Lane.URGENT, i, KIB);
      ledger.noteRefusal(Lane.BULK);
    }

    expect(ledger.canResume).toBe(false);
  });

  it('may come back any number of times when nothing is kept', () => {
    const book = new Book();

    for (let i = 0; i < 50; i++) {
      expect(book.ledger.resume([0, 0])).toBe(true);
      book.ledger.noteSilence();
    }

    expect(book.ledger.canResume).toBe(true);
  });
});
