/** Moved to src/testing. */
export { until } from '../../src/testing/until.ts';
