// Pictures for the README.

import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';

/** A picture that a README can show without slowing it down. */
const BYTES_MAX = 200_000;

/** Takes what is in sight of a page, as `<name>.png`. */
export async function picture(page, folder, name) {
    const path = join(folder, `${name}.png`);
    await page.screenshot({ path });
    const { size } = await stat(path);
    assert.ok(size < BYTES_MAX, `${path} has ${size} bytes`);
    console.log(`${path}: ${Math.round(size / 1_000)} kB`);
}
