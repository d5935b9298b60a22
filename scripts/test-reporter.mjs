// A vitest reporter that keeps what the summary of `npm test` needs: counts, failures, and skips
// with their reasons.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const summary = { passed: 0, failed: 0, skipped: [], broken: [] };
    for (const module of modules) {
      const place = `${module.project.name} ${module.relativeModuleId ?? module.moduleId}`;
      for (const test of module.children.allTests()) {
        const { state, note } = test.result();
        if (state === 'passed') summary.passed++;
        else if (state === 'failed') summary.failed++;
        else summary.skipped.push({ name: `${place} > ${test.fullName}`, reason: note ?? '' });
      }
      // A file that does not load, or a suite whose hook fails, may fail without a failed test.
      const suites = [...module.children.allSuites()];
      const errors = [module, ...suites].flatMap((part) => part.errors());
      if (errors.length > 0) summary.broken.push(`${place}: ${errors[0].message}`);
    }
    for (const error of unhandledErrors) summary.broken.push(`unhandled: ${error.message}`);
    const file = process.env.DVK_TEST_SUMMARY;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(summary));
  }
}
