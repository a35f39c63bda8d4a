// k6 in a process of its own.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

import { ROOT } from './onsale.mjs';

const INSTALLED = `${ROOT}/.venv-k6/bin/k6`;

/**
 * Runs a script.
 *
 * @param {string} script its path below the root, or '-' for `text`
 * @param {object} options
 * @param {Record<string, string | number>} options.settings environment variables
 * @param {string} [options.text] the script itself
 * @returns {Promise<{ code: number, said: string }>}
 */
export function k6(script, { settings, text = '' }) {
    const program = existsSync(INSTALLED) ? INSTALLED : 'k6';
    const child = spawn(program, ['run', '--quiet', '--no-usage-report', script], {
        cwd: ROOT, env: { ...process.env, ...settings }, stdio: ['pipe', 'pipe', 'pipe'],
    });
    process.on('exit', () => child.kill('SIGKILL'));
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => { said += piece; });
    child.stdin.end(text);
    return new Promise((ended, failed) => {
        child.once('close', (code) => ended({ code, said })).once('error', failed);
    });
}
