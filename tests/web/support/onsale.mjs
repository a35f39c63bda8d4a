// `onsale dev` in a process of its own: a free port, throw-away stores, settings of the test.

import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const BINARY = process.env.ONSALE_BINARY ?? join(ROOT, 'target/debug/onsale');
const START_WITHIN_MS = 90_000;
const STOP_WITHIN_MS = 30_000;

/** With which the operators' routes are asked. */
export const ADMIN_TOKEN = 'the-operators-token-of-a-test';

// Whatever happens to this process, its servers end with it.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
const tied = spawnSync('setpriv', ['--version']).status === 0
    ? ['setpriv', '--pdeathsig', 'TERM', '--'] : [];

/**
 * Starts a server and waits until it serves.
 *
 * @param {object} [options]
 * @param {Record<string, string>} [options.settings] environment variables, such as `ONSALE_HOLD_TTL`
 * @param {string} [options.catalogue] the text of a `concerts.toml`; else the demo catalogue
 */
export async function startOnsale({ settings = {}, catalogue } = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'onsale-web-'));
    // PostgreSQL refuses to be root, and its account must get through.
    await chmod(folder, 0o711);
    const environment = { PATH: process.env.PATH, TMPDIR: tmpdir(), ONSALE_ADMIN_TOKEN: ADMIN_TOKEN };
    if (catalogue) {
        environment.ONSALE_CONCERTS = join(folder, 'concerts.toml');
        await writeFile(environment.ONSALE_CONCERTS, catalogue);
    }
    const command = [...tied, BINARY, 'dev', '--data', join(folder, 'data'), '--listen', '127.0.0.1:0'];
    const child = spawn(command[0], command.slice(1), {
        cwd: folder,
        env: { ...environment, ...settings },
        stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    const log = join(folder, 'log');
    child.stderr.pipe(createWriteStream(log));
    const ended = new Promise((done) => child.once('exit', (code, signal) => {
        running.delete(child);
        done({ code, signal });
    }));
    const stop = async () => {
        child.kill('SIGTERM');
        const { code } = await within(STOP_WITHIN_MS, 'the server stops', ended);
        const said = existsSync(log) ? await readFile(log, 'utf8') : '';
        await rm(folder, { recursive: true, force: true });
        if (code !== 0) throw new Error(`the server ended with ${code}:\n${said}`);
        if (/ ERROR |panicked/.test(said)) throw new Error(`the server logged an error:\n${said}`);
    };
    try {
        const { url, redisSocket } = await within(START_WITHIN_MS, 'the server serves', address(child, ended));
        return { url, stop, folder, redisSocket, admin: (change) => configure(url, change) };
    } catch (error) {
        child.kill('SIGKILL');
        await ended;
        error.message += `\n${existsSync(log) ? await readFile(log, 'utf8') : ''}`;
        throw error;
    }
}

function address(child, ended) {
    return new Promise((found, failed) => {
        let said = '';
        child.stdout.on('data', (piece) => {
            said += piece;
            const serves = said.includes('Stop with Ctrl-C.') && /serves on (http:\S+)/.exec(said);
            if (!serves) return;
            // Of a server with a cluster there is none.
            const redisSocket = /redis-cli -s (\S+)/.exec(said)?.[1];
            found({ url: serves[1], redisSocket });
        });
        ended.then(({ code, signal }) => failed(new Error(`the server ended: ${code ?? signal}`)));
    });
}

/** Changes live settings, as an operator does. */
async function configure(url, change) {
    const answer = await fetch(`${url}/admin/concerts`, {
        method: 'PATCH',
        headers: { 'Authorization': `Bearer ${ADMIN_TOKEN}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(change),
    });
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
}

/** What `promise` gives; an error once `ms` have passed. */
export function within(ms, what, promise) {
    let timer;
    const late = new Promise((_, failed) => {
        timer = setTimeout(() => failed(new Error(`not within ${ms} ms: ${what}`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
