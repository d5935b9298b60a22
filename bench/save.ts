/** Keeps the results of a bench in bench/results: as a table, as the document and as a picture. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { projectRoot, RESULTS } from './machine.ts';
import { formatPlot } from './plot.ts';
import { formatDocument, formatReport, type Report } from './report.ts';

/** Writes the files, over those of the last time; returns their paths from the root. */
export function saveReport(report: Report): string[] {
  mkdirSync(join(projectRoot(), RESULTS), { recursive: true });
  const texts: [string, string][] = [
    ['txt', formatReport(report)],
    ['json', formatDocument(report)],
    ['svg', formatPlot(report)],
  ];
  return texts.map(([kind, text]) => {
    const path = `${RESULTS}/${report.bench}${report.fresh ? '-fresh' : ''}.${kind}`;
    writeFileSync(join(projectRoot(), path), text);
    return path;
  });
}
