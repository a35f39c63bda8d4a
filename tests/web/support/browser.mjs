// A real Chromium. Every page of it is watched: no request leaves for another host, no script
// breaks, and nothing is tried that the page's Content-Security-Policy forbids.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const PLACES = [
    process.env.CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** The longest that a test waits for something on a page. */
export const PATIENCE_MS = 15_000;

export async function startBrowser() {
    const executablePath = PLACES.find((place) => place && existsSync(place));
    if (!executablePath) throw new Error('there is no Chromium: scripts/setup.sh browser');
    const browser = await chromium.launch({ executablePath });
    const visitors = [];
    return {
        /** Somebody with an own browser profile; `options` as of Playwright's contexts. */
        visitor: async (url, options = {}) => {
            const somebody = await visitor(browser, url, options);
            visitors.push(somebody);
            return somebody;
        },
        /** Ends everything; fails if anything was wrong on any page. */
        close: async () => {
            await browser.close();
            const faults = visitors.flatMap((somebody) => somebody.faults);
            assert.deepEqual(faults, [], 'what went wrong on the pages');
        },
    };
}

/**
 * With `WEB_FILES=web`, the files as they are on the disk instead of those in the binary: for who
 * works on a page.
 */
async function useFilesOf(folder, context, url) {
    await context.route(`${url}/**`, async (route) => {
        const path = new URL(route.request().url()).pathname;
        const file = join(folder, { '/': 'index.html', '/docs': 'docs/index.html', '/ops': 'ops.html' }[path] ?? path);
        if (route.request().method() !== 'GET' || !existsSync(file)) return route.continue();
        const { headers } = await fetch(new URL(path, url));
        const type = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }[path.split('.').at(-1)];
        return route.fulfill({
            path: file,
            contentType: type ?? 'text/html; charset=utf-8',
            headers: {
                'Content-Security-Policy': headers.get('Content-Security-Policy') ?? '',
                'Referrer-Policy': headers.get('Referrer-Policy') ?? '',
            },
        });
    });
}

async function visitor(browser, url, options) {
    const context = await browser.newContext({
        locale: 'en-GB',
        timezoneId: 'Europe/Berlin',
        baseURL: url,
        ...options,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    if (process.env.WEB_FILES) await useFilesOf(process.env.WEB_FILES, context, url);
    const faults = [];
    const requests = [];
    context.on('request', (request) => {
        requests.push(request);
        // A page may make images of its own.
        const outside = !request.url().startsWith(`${url}/`) && !/^(data|blob):/.test(request.url());
        if (outside) faults.push(`a request left for ${request.url()}`);
    });
    const page = await context.newPage();
    page.on('pageerror', (error) => faults.push(`a script broke: ${error.stack ?? error}`));
    page.on('console', (line) => {
        // Chromium says so of every 4xx, of which the page itself tells.
        const refusal = line.text().startsWith('Failed to load resource');
        if (line.type() === 'error' && !refusal) faults.push(`the console says: ${line.text()}`);
    });
    return { page, context, faults, requests };
}
