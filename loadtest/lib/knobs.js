// Every knob of the test, read once from the environment (`k6 run -e NAME=value`, or exported).

export function number(name, otherwise) {
  const text = __ENV[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} must be a number, not '${text}'`);
  return value;
}

const text = (name, otherwise) => __ENV[name] || otherwise;
const flag = (name, otherwise) => text(name, otherwise ? '1' : '0') === '1';

export const knobs = {
  // Where, and what is sold there. DATES and SEATS only name the counters that would show a seat
  // with two owners; what is really free is asked from the server.
  baseUrl: text('BASE_URL', 'http://127.0.0.1:8080'),
  concertId: number('CONCERT_ID', 1),
  dates: text('DATES', '2030-12-24').split(','),
  seats: number('SEATS', 50),

  // Who comes, and when.
  arrivals: number('ARRIVALS', 3000),
  seconds: number('SECONDS', 15),
  shape: text('SHAPE', 'steady'),
  seatsPerUser: number('SEATS_PER_USER', 1),
  seed: number('SEED', 1),
  run: number('RUN', 0),

  // How they behave.
  think: number('THINK', 1),
  looks: number('LOOKS', 5),
  patienceSeconds: number('PATIENCE', 180),
  retrySeconds: number('RETRY_SECONDS', 30),

  // What must hold.
  p99Ms: number('P99_MS', 100),
  allow5xx: flag('ALLOW_5XX', false),
  expectSoldOut: flag('EXPECT_SOLD_OUT', true),

  // For the report only.
  reportDir: text('REPORT_DIR', ''),
  machine: text('MACHINE', 'not given'),
  versions: text('VERSIONS', 'not given'),
  commit: text('COMMIT', 'not given'),
  command: text('COMMAND', 'k6 run loadtest/ticket_open.js'),
};

if (!['steady', 'spike'].includes(knobs.shape)) throw new Error('SHAPE must be steady or spike');
if (knobs.arrivals < 1 || knobs.seconds < 1) throw new Error('ARRIVALS and SECONDS must be at least 1');
if (knobs.arrivals > 1e6) throw new Error('ARRIVALS must be at most 1,000,000: user ids are numbered');
