// What the stores of a server say themselves of its sale, again and again, by Redis' clock.

import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Everything of one moment, as one line of JSON. */
const LOOK = `
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local after_now = '(' .. string.format('%.0f', now_ms)
local counters = redis.call('HMGET', KEYS[3], 'issued', 'promoted')
local held, sold = 0, 0
for i = 4, #KEYS, 2 do
  held = held + redis.call('ZCOUNT', KEYS[i], after_now, '(253402300799999')
  sold = sold + redis.call('BITCOUNT', KEYS[i + 1])
end
return cjson.encode({
  at = now_ms, waiting = redis.call('ZCARD', KEYS[1]), active = redis.call('ZCOUNT', KEYS[2], after_now, '+inf'),
  held = held, sold = sold, issued = tonumber(counters[1] or 0), promoted = tonumber(counters[2] or 0),
})`;
const REDIS_EVERY_S = '0.05';
const POSTGRES_EVERY_S = '0.2';

/** Watches the first concert of a server. */
export class Stores {
    /** What Redis said, the oldest first: `at` in Unix ms, and numbers by name. */
    redis = [];
    /** What PostgreSQL said: `at`, and `sold`, the seats that somebody owns. */
    postgres = [];
    #cli;
    #sql;
    #children = [];

    /** @param onsale what `startOnsale` gave; `dates` are those of the concert */
    constructor(onsale, dates) {
        this.data = `${onsale.folder}/data`;
        this.#cli = ['-s', onsale.redisSocket];
        this.#sql = ['-X', '-q', '-A', '-t', '-h', `${this.data}/postgres`, '-p', '5432', '-U', 'onsale', '-d', 'onsale'];
        const ofDates = dates.flatMap((date) => [`{c1}:held:${date}`, `{c1}:sold:${date}`]);
        const keys = ['{c1}:waiting', '{c1}:active', '{c1}:stats', ...ofDates];
        const again = ['-r', '-1', '-i', REDIS_EVERY_S, 'eval_ro', LOOK, String(keys.length), ...keys];
        this.#follow('redis-cli', [...this.#cli, ...again], '', (line) => {
            if (line.startsWith('{')) this.redis.push(JSON.parse(line));
        });
        const count = `select (extract(epoch from clock_timestamp()) * 1000)::bigint, count(*) from owned_seats`;
        this.#follow('psql', this.#sql, `${count} \\watch ${POSTGRES_EVERY_S}\n`, (line) => {
            const [, at, sold] = /^(\d+)\|(\d+)$/.exec(line) ?? [];
            if (at) this.postgres.push({ at: Number(at), sold: Number(sold) });
        });
        process.on('exit', () => this.stop());
    }

    #follow(program, words, text, take) {
        const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
        child.stdin.write(text);
        createInterface({ input: child.stdout }).on('line', take);
        this.#children.push(child);
    }

    /** The newest that Redis said. */
    get now() {
        return this.redis.at(-1);
    }

    /** What Redis answers to a command. */
    ask(...words) {
        return execFileSync('redis-cli', [...this.#cli, ...words], { encoding: 'utf8' }).trim();
    }

    stop() {
        for (const child of this.#children) child.kill('SIGKILL');
    }
}

/**
 * How many ms before `at` a number was last true by these points, in between two of which it may have
 * been any number between theirs; Infinity if it never was.
 */
export function age(points, name, value, at) {
    for (let index = points.length - 1; index > 0; index -= 1) {
        const [from, to] = [points[index - 1], points[index]];
        const [low, high] = [from[name], to[name]].sort((one, other) => one - other);
        if (from.at <= at && low <= value && value <= high) return Math.max(0, at - to.at);
    }
    return Infinity;
}
