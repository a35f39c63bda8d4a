// A server and a browser for all tests of a file.

import { after, before } from 'node:test';

import { startBrowser } from './browser.mjs';
import { startOnsale } from './onsale.mjs';

/**
 * Starts both before the first test of the file, and ends them after the last.
 *
 * @param {object} [options] as of `startOnsale`
 * @param {(both: object) => Promise<void>} [prepare] what else is done before the first test
 * @returns an object with `onsale` and `browser`, and `visitor`: somebody who looks at that server
 */
export function stage(options, prepare = async () => {}) {
    const both = {
        /** Somebody with an own browser profile; `options` as of Playwright's contexts. */
        visitor: (profile) => both.browser.visitor(both.onsale.url, profile),
    };
    before(async () => {
        both.onsale = await startOnsale(options);
        both.browser = await startBrowser();
        await prepare(both);
    }, { timeout: 120_000 });
    after(async () => {
        await both.browser?.close();
        await both.onsale?.stop();
    }, { timeout: 60_000 });
    return both;
}
