//! The room that one input takes: whatever a length in it claims, no more is asked for at once than
//! its own bytes justify.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one allocation may take for each byte of the input: the largest value that two bytes make
/// (`_` and a line break) is 40 bytes, and a growing list has room for twice as many.
const BYTES_PER_BYTE: usize = 64;
/// And for none.
const BYTES_ALWAYS: usize = 16 * 1024;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Measuring;

#[global_allocator]
static MEASURING: Measuring = Measuring;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Runs one property over one input, within its room.
pub fn holds(property: fn(&[u8]), input: &[u8]) {
    LARGEST.store(0, Ordering::Relaxed);
    property(input);
    let largest = LARGEST.load(Ordering::Relaxed);
    let most = BYTES_ALWAYS + BYTES_PER_BYTE * input.len();
    assert!(largest <= most, "{largest} bytes at once for an input of {}", input.len());
}
