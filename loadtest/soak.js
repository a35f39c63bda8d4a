// The whole journey at a modest rate for a long time: what leaks, drifts or piles up shows here.
//
// The people and the rules are those of ticket_open.js; there are seats for everybody (soak.toml).

import { knobs } from './lib/knobs.js';
import { options as rush } from './ticket_open.js';

export { default, handleSummary, setup, teardown } from './ticket_open.js';

export const options = {
  ...rush,
  scenarios: {
    soak: {
      executor: 'constant-arrival-rate',
      rate: knobs.arrivals,
      timeUnit: `${knobs.seconds}s`,
      duration: `${knobs.seconds * 1000 + 500}ms`,
      // A visit takes some ten seconds.
      preAllocatedVUs: Math.ceil((knobs.arrivals / knobs.seconds) * 30),
      maxVUs: Math.ceil((knobs.arrivals / knobs.seconds) * 60),
      gracefulStop: `${knobs.patienceSeconds + knobs.retrySeconds + 60}s`,
    },
  },
};
