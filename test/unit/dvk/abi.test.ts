// The addon and TypeScript agree on every shared struct. Method: the addon tells sizes and offsets
// as its compiler sees them; they are compared with the generated constants, field by field.
import { describe, expect, it } from 'vitest';
import {
  AsyncSlotLayout,
  CommandLayout,
  CopyOrderLayout,
  DepartureSlotLayout,
  ExtentLayout,
  GrantSlotLayout,
  LinkSlotLayout,
  MigrantLayout,
  MigrantNoticeLayout,
  MigrationSlotLayout,
  PrivilegeSlotLayout,
  ProbeLayout,
  ProcessSlotLayout,
  RemoteWaitLayout,
  SearchLayout,
  SegmentHeaderLayout,
  TraceEventLayout,
  TraceHeaderLayout,
  TraceRingLayout,
  TraceWatcherLayout,
} from '../../../src/dvk/abi/abi.gen.ts';
import { native } from '../../../src/dvk/native.ts';

const layouts: Record<string, Record<string, number>> = {
  SegmentHeader: SegmentHeaderLayout,
  ProcessSlot: ProcessSlotLayout,
  PrivilegeSlot: PrivilegeSlotLayout,
  GrantSlot: GrantSlotLayout,
  CopyOrder: CopyOrderLayout,
  LinkSlot: LinkSlotLayout,
  DepartureSlot: DepartureSlotLayout,
  MigrationSlot: MigrationSlotLayout,
  Migrant: MigrantLayout,
  MigrantNotice: MigrantNoticeLayout,
  AsyncSlot: AsyncSlotLayout,
  Extent: ExtentLayout,
  Command: CommandLayout,
  TraceHeader: TraceHeaderLayout,
  TraceWatcher: TraceWatcherLayout,
  TraceRing: TraceRingLayout,
  TraceEvent: TraceEventLayout,
  Probe: ProbeLayout,
  RemoteWait: RemoteWaitLayout,
  Search: SearchLayout,
};

function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

describe('the layout of shared structs', () => {
  const told = native().abiLayout();

  it('covers every struct', () => {
    expect(Object.keys(told).sort()).toEqual(Object.keys(layouts).sort());
  });

  it.each(Object.keys(layouts))('is the same on both sides for %s', (name) => {
    const ours = Object.entries(layouts[name] ?? {}).filter(([key]) => !key.startsWith('reserved'));
    const theirs = Object.entries(told[name] ?? {}).map(([key, at]) => [camelCase(key), at]);

    expect(Object.fromEntries(theirs)).toEqual(Object.fromEntries(ours));
  });
});
